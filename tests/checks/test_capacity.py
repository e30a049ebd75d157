"""What does not fit is named with its largest part and a setting; the recipes' own machines are large enough."""

import re
import shutil
from types import SimpleNamespace

import pytest

from tooln1.checks import capacity
from tooln1.checks.capacity import available_memory, check_disk, check_gpu_memory, checkpoint_bytes, kept_checkpoints
from tooln1.checks.doctor import planned_gpus
from tooln1.checks.findings import OK
from tooln1.checks.memory_estimate import cpu_run

MB = 10**6
SEVEN, FOURTEEN = "Qwen/Qwen2.5-7B-Instruct", "Qwen/Qwen2.5-14B-Instruct"
ROLLOUT, MODEL = "actor_rollout_ref.rollout", "actor_rollout_ref.model"
SHARE = f"{ROLLOUT}.gpu_memory_utilization"


@pytest.fixture
def problems(make, shape_of):
    """The faults and warnings of a model on one node of another machine."""

    def check(name, gpus, gib, changes=None):
        run = make("tool_n1_grpo", changes, shape=shape_of(name), gpus=planned_gpus(gpus, gib), planned=True)
        return [finding.message for finding in check_gpu_memory(run) if finding.severity != OK]

    return check


@pytest.mark.parametrize("name", [SEVEN, FOURTEEN])
def test_the_recipe_fits_on_a_node_of_eight_large_gpus(name, problems):
    assert problems(name, 8, 80) == []


@pytest.mark.parametrize(
    "gpus, gib, changes, expected",
    [
        (8, 24, {}, r"update: about .* largest part is activations .*: lower actor\.ppo_max_token_len"),
        (2, 80, {"trainer.n_gpus_per_node": 2}, r"update: about .* largest part is optimizer .*: more GPUs, or LoRA"),
        (8, 48, {f"{MODEL}.use_fused_kernels": False}, r"update: .* logits .*: model\.use_fused_kernels=true"),
        (
            8,
            80,
            {f"{MODEL}.enable_gradient_checkpointing": False},
            r"activations .*: model\.enable_gradient_checkpointing=true",
        ),
        (8, 80, {SHARE: 0.95}, r"generation: .* engine's share"),
        (8, 80, {SHARE: 0.1}, r"KV cache: .* raise rollout\.gpu"),
        # Room for the 12,288 tokens of a sequence, but not for the 32,768 that the model could read.
        (
            8,
            80,
            {SHARE: 0.16, f"{ROLLOUT}.tensor_model_parallel_size": 2},
            r"KV cache: .* fewer than rollout.max_model_len \(32768\)",
        ),
    ],
)
def test_what_does_not_fit_is_named_with_what_to_change(gpus, gib, changes, expected, problems):
    found = problems(SEVEN, gpus, gib, changes)
    assert [line for line in found if re.search(expected, line)], found


def test_an_average_prompt_counts_only_where_the_batch_does_not_fill_the_budget(make, shape_of):
    run = make("tool_n1_grpo_cpu", mini_batch=8, responses=2, prompt_length=300, response_length=100)
    run.shape = shape_of("Qwen/Qwen3-0.6B")

    def activations(tokens, mean_prompt):
        run.train_tokens, run.mean_prompt = tokens, mean_prompt
        return cpu_run(run)["activations"]

    assert activations(10_000, 50.0) == pytest.approx(activations(16 * 150, None))
    assert activations(1_000, 50.0) == activations(1_000, None)


def test_a_checkpoint_holds_weights_and_moments_of_every_copy(make, shape_of):
    run = make(shape=shape_of(SEVEN), checkpoint={"save_contents": ("model", "optimizer", "extra")})
    parameters = run.shape.parameters
    assert checkpoint_bytes(run) == parameters * (4 + 8)
    run.shard = 4
    assert checkpoint_bytes(run) == 2 * parameters * (4 + 8)
    run.checkpoint = {"save_contents": ["hf_model"]}
    assert checkpoint_bytes(run) == parameters * 2


@pytest.mark.parametrize(
    "save_every, keep, steps, expected",
    [
        (10, None, 145, 15),  # 14 times ten steps, and the last
        (10, 2, 145, 3),  # and the best
        (10, 1, 145, 3),  # the old one goes after the new one is there
        (100, 3, 145, 2),
        (10, None, None, None),
        (-1, None, 145, 0),
    ],
)
def test_how_many_checkpoints_there_are_at_the_end(save_every, keep, steps, expected, make):
    changes = {"trainer.max_actor_ckpt_to_keep": keep, "trainer.total_training_steps": steps}
    assert kept_checkpoints(make("tool_n1_grpo", changes, save_every=save_every)) == expected


@pytest.mark.parametrize(
    "path, free, expected",
    [
        ("a/b", 10**13, None),
        ("a/b", 10**9, r"b: 1\.0 GB free on this disk, 2\.0 GB needed; make room"),
        ("file/b", 10**13, r"file is a file; expected a folder"),
    ],
)
def test_too_little_disk_is_refused(path, free, expected, make, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=free))
    run = make()
    run.settings = SimpleNamespace(checkpoints=tmp_path / path)
    found = [finding.message for finding in check_disk(run) if finding.severity != OK]
    assert re.search(expected, found[0]) if expected else found == []


V1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
V2 = ("memory.max", "memory.current", "inactive_file")


@pytest.mark.parametrize(
    "membership, folder, names, values, expected",
    [
        # 30 MB are used, of which 10 are cached pages: of 50 MB, 30 are left.
        ("0::/", "", V2, (50 * MB, 30 * MB, 10 * MB), 30 * MB),
        ("0::/a/b", "a", V2, (50 * MB, 30 * MB, 10 * MB), 30 * MB),  # the limit of a group above
        ("0::/../seen/by/host", "", V2, (50 * MB, 30 * MB, 10 * MB), 30 * MB),
        ("4:memory:/a", "memory/a", V1, (50 * MB, 30 * MB, 10 * MB), 30 * MB),
        ("5:cpu,memory:/seen/by/host", "memory", V1, (50 * MB, 30 * MB, 10 * MB), 30 * MB),
        ("0::/", "", V2, (50 * MB, 60 * MB, 0), 0),
        ("0::/", "", V2, ("max", 30 * MB, 0), None),
        ("4:memory:/", "memory", V1, (2**63 - 4096, 30 * MB, 0), None),  # version 1's way of saying "no limit"
        ("0::/", "elsewhere", V2, (50 * MB, 30 * MB, 0), None),
    ],
)
def test_a_containers_limit_bounds_the_memory(membership, folder, names, values, expected, tmp_path):
    (tmp_path / "membership").write_text(f"1:name=systemd:/\n{membership}\n")
    group = tmp_path / "cgroups" / folder
    group.mkdir(parents=True)
    (group / names[0]).write_text(f"{values[0]}\n")
    (group / names[1]).write_text(f"{values[1]}\n")
    (group / "memory.stat").write_text(f"anon 1\n{names[2]} {values[2]}\n")
    available, limit = available_memory(tmp_path / "cgroups", tmp_path / "membership")
    if expected is None:
        assert available > 50 * MB and limit == "on this machine"
    else:
        assert (available, limit) == (expected, "under the container's limit of 0.1 GB")


def test_a_machine_without_cgroups_has_its_memory(tmp_path):
    assert available_memory(tmp_path, tmp_path / "none")[1] == "on this machine"


def test_grpo_on_the_cpu_needs_six_gigabytes(make, monkeypatch):
    monkeypatch.setattr(capacity, "available_memory", lambda: (5_900_000_000, "on this machine"))
    (found,) = [finding for finding in capacity.check_cpu_memory(make("tool_n1_grpo_cpu")) if finding.severity != OK]
    assert found.message.startswith("5.9 GB available on this machine, 6.0 GB needed; end other programs")
