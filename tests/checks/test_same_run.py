"""A run folder belongs to one run: which settings may change, what a refusal says, and what accepting it does."""

import functools
import json

import pytest
from omegaconf import OmegaConf

from tooln1.checks.same_run import check_same_run, find_changes, read_contents
from tooln1.checks.upcoming_run import UpcomingRun
from tooln1.config import compose
from tooln1.errors import UserError
from tooln1.settings import Settings

ACTOR, ROLLOUT, MODEL = "actor_rollout_ref.actor", "actor_rollout_ref.rollout", "actor_rollout_ref.model"
GRPO, REWARD = "tool_n1_grpo", "reward.custom_reward_function"

composed = functools.cache(compose)  # takes most of the time


@pytest.fixture
def settings(tmp_path):
    """The settings of a recipe with other values, {dotted key: value}, in one run folder."""

    def make(changes=None, recipe="tool_n1_sft", **arguments):
        config = composed(recipe).copy()
        files = {f"data.{side}_files": str(tmp_path / "rows.parquet") for side in ("train", "val")}
        for key, value in (files | (changes or {})).items():
            OmegaConf.update(config, key, value, force_add=True)
        found = Settings(recipe, run_dir=tmp_path, **arguments)
        vars(found)["_composition"] = ([], config)
        return found

    return make


@pytest.fixture
def trained(settings, tmp_path):
    """A folder in which a run has measured something, as `tooln1 train` leaves it."""

    def leave(*args, **options):
        first = settings(*args, **options)
        (tmp_path / "rows.parquet").write_text("rows")
        (tmp_path / "config.yaml").write_text(OmegaConf.to_yaml(first.composed, resolve=True))
        (tmp_path / "metrics.jsonl").write_text("{}\n")
        (tmp_path / "run.json").write_text(json.dumps({"contents": read_contents(first)}))

    return leave


DEFINING = {
    f"{REWARD}.path": "pkg://tooln1.reward_score.toolcall_paper",
    f"{REWARD}.name": "other",
    f"{REWARD}.reward_kwargs.variant": "binary_no_reason",
    "algorithm.adv_estimator": "rloo",
    "algorithm.of_tomorrow": 1,  # nobody knows what it does
    f"{ACTOR}.optim.lr": 1e-5,
    f"{ACTOR}.kl_loss_coef": 0.0,
    # Without the optimizer's state, the resumed run is another one.
    f"{ACTOR}.checkpoint.load_contents": ["model"],
    "data.train_files": "other.parquet",
    "data.val_files": ["a.parquet", "b.parquet"],
    "data.max_prompt_length": 100,
    "data.train_batch_size": 64,
    "data.seed": 1,
    f"{MODEL}.path": "Qwen/Other",
    f"{MODEL}.lora_rank": 8,
    f"{ROLLOUT}.n": 8,
    f"{ROLLOUT}.temperature": 1.0,
    f"{ROLLOUT}.name": "sglang",
}
FREE = {
    "trainer.total_epochs": 9,
    "trainer.total_training_steps": 3,
    "trainer.save_freq": 1,
    "trainer.max_actor_ckpt_to_keep": 9,
    "trainer.test_freq": 1,
    "trainer.val_before_train": False,
    "trainer.logger": ["console"],
    "trainer.experiment_name": "mine",
    "trainer.default_local_dir": "/elsewhere",
    "trainer.resume_mode": "resume_path",
    "trainer.resume_from_path": "/somewhere/global_step_3",
    "trainer.nnodes": 4,
    "trainer.n_gpus_per_node": 1,
    f"{ACTOR}.fsdp_config.param_offload": True,
    f"{ACTOR}.ppo_max_token_len_per_gpu": 12288,
    f"{ROLLOUT}.tensor_model_parallel_size": 1,
    f"{ROLLOUT}.gpu_memory_utilization": 0.5,
    f"{ROLLOUT}.enforce_eager": True,
    f"{ROLLOUT}.max_num_seqs": 8,
    "ray_kwargs.ray_init.num_cpus": 4,
}


def test_what_defines_a_run_is_told_with_its_values_and_the_rest_is_free(settings, trained):
    trained(recipe=GRPO)
    assert find_changes(settings(FREE, GRPO)) == []
    found = {change.key: change for change in find_changes(settings(DEFINING | FREE, GRPO))}
    assert {key: found[key].new for key in DEFINING} == DEFINING
    # What else changes follows from these by interpolation.
    assert all(key.startswith(("actor_rollout_ref.", "critic.", "distillation.")) for key in found.keys() - DEFINING)
    assert (found[f"{ROLLOUT}.n"].old, found[f"{REWARD}.reward_kwargs.variant"].old) == (5, None)


def test_sft_is_compared_too(settings, trained):
    trained()
    changes = {"optim.lr": 1.0, "trainer.seed": 3, "data.max_length": 9, "data.max_token_len_per_gpu": 9}
    found = find_changes(settings(changes))
    assert [change.key for change in found] == ["data.max_length", "optim.lr", "trainer.seed"]


def test_other_rows_under_the_same_name_are_another_run(settings, trained, tmp_path):
    trained()
    assert find_changes(settings()) == []
    (tmp_path / "rows.parquet").write_text("others")
    (change,) = find_changes(settings())
    assert change.key == f"content of {tmp_path / 'rows.parquet'}"


def test_a_relative_path_of_an_older_folder_is_the_same_file(settings, trained, tmp_path, monkeypatch):
    trained()
    monkeypatch.chdir(tmp_path)
    config = tmp_path / "config.yaml"
    (tmp_path / "link.parquet").symlink_to("rows.parquet")
    config.write_text(config.read_text().replace(str(tmp_path / "rows.parquet"), "link.parquet"))
    (tmp_path / "run.json").unlink()
    assert find_changes(settings()) == []


def test_a_folder_without_results_belongs_to_no_run(settings, trained, tmp_path):
    trained()
    (tmp_path / "metrics.jsonl").write_text("")
    assert find_changes(settings({"trainer.seed": 9})) == []
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "latest_checkpointed_iteration.txt").write_text("3")
    ours = settings({"trainer.seed": 9, "trainer.default_local_dir": str(tmp_path / "checkpoints")})
    assert [change.key for change in find_changes(ours)] == ["trainer.seed"]


def test_a_refusal_names_the_keys_the_way_on_and_what_is_free(settings, trained, tmp_path):
    trained()
    changes = {"trainer.seed": 3, "data.train_files": ["/x", "/y"], "trainer.save_freq": 3}
    run = UpcomingRun(settings(changes))
    (finding,) = check_same_run(run)
    assert finding.severity == "fault"
    assert finding.message.startswith(
        f"{tmp_path}: holds a run of other settings: "
        f'data.train_files {tmp_path / "rows.parquet"} -> ["/x", "/y"], trainer.seed 1 -> 3; choose another run folder'
    )
    for part in (
        "--run-dir",
        "--accept-changes (ACCEPT_CHANGES=1)",
        "length, saving, validation frequency, logging and resources may change freely",
    ):
        assert part in finding.message
    run.settings = settings(changes, accept_changes=True)
    (accepted,) = check_same_run(run)
    assert accepted.severity == "warning" and "the run continues with changes: data.train_files" in accepted.message


def test_a_learning_rate_that_the_checkpoint_would_bring_back_is_refused_though_accepted(settings, trained, tmp_path):
    def faults(**more):
        run = UpcomingRun(settings({"optim.lr": 1.0, "trainer.default_local_dir": str(tmp_path)} | more, **accepted))
        return [finding.message for finding in check_same_run(run) if finding.severity == "fault"]

    trained()
    accepted = {"accept_changes": True}
    assert faults() == []  # there is no checkpoint
    (tmp_path / "latest_checkpointed_iteration.txt").write_text("3")
    (message,) = faults()
    assert message.startswith("optim.lr: the checkpoint brings") and "add checkpoint.load_contents=[model]" in message
    assert faults(**{"checkpoint.load_contents": ["model"]}) == []


@pytest.mark.parametrize("recipe, kinds", [(GRPO, "SFT, and this one is GRPO"), ("tool_n1_sft", "cannot be read")])
def test_a_folder_of_something_else_is_refused(recipe, kinds, settings, trained, tmp_path):
    trained()
    if recipe != GRPO:
        (tmp_path / "config.yaml").write_text("[")
    with pytest.raises(UserError, match=kinds):
        find_changes(settings(recipe=recipe, accept_changes=True))
