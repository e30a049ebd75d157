"""Every training script for real, on the tiny model: one step of GRPO, or a few of SFT.

Only the model, the parquet files, the machines (PLATFORM=cpu) and the number of steps are replaced. All together take
half an hour on two cores, so they are slow tests. tests/e2e runs the quickstart.
"""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml
from example_scripts import TRAINING, run_script

from tooln1.files import read_jsonl
from tooln1.platforms.environment import cpu_environment
from tooln1.processes import stop_left_over_processes
from tooln1.reward_score.toolcall import compute_score
from tooln1.run_folder import REWARD, tracked_step

pytestmark = [pytest.mark.slow, pytest.mark.cpu_engine]

ONE_STEP = [
    *("trainer.total_training_steps=1", "trainer.test_freq=-1", "trainer.val_before_train=false"),
    # run_llama_grpo.sh sets another length.
    "data.max_response_length=96",
]
# What a sweep chooses itself: a model's name, which is a folder where the script runs, or a folder of data.
MODELS = ("Qwen/Qwen2.5-14B-Instruct", "meta-llama/Meta-Llama-3-8B-Instruct")
# platform/cpu.yaml's batch size times the paper's rollouts per prompt.
ROLLOUTS = 16 * 5
# One run of a sweep: the others differ by a name or a file.
FIRST = {"SIZES": "14B", "VERSIONS": "3", "MIXTURES": "full"}
VARIANTS = ("partial_reason", "partial_reason_name", "binary_no_reason", "binary")
# Each of these has its own test below.
APART = ("4nodes", "sft", "table4")
ALONE = [path for path in TRAINING if not any(word in path.name for word in APART)]


@pytest.fixture(scope="module")
def conversations(tmp_path_factory):
    """Enough demonstrations to learn the response format."""
    from data_prep.synthetic import main

    folder = tmp_path_factory.mktemp("world")
    main(["--output", str(folder), "--train", "300", "--test", "70", "--sft", "1600", "--seed", "0"])
    return folder / "sft.parquet"


@pytest.fixture(scope="module")
def train(tiny_model, tiny_data, tmp_path_factory):
    """Runs a script on the CPU; a run that fails shows the end of its output."""
    here = tmp_path_factory.mktemp("here")
    for path, target in (*((here / name, tiny_model) for name in MODELS), (here / "data" / "full", tiny_data)):
        path.parent.mkdir(exist_ok=True)
        path.symlink_to(target)

    def run(script, folder, *arguments, **variables):
        chosen = {
            "PLATFORM": "cpu",
            "MODEL_PATH": tiny_model,
            "TRAIN_FILE": tiny_data / "train.parquet",
            "VAL_FILE": tiny_data / "test.parquet",
            "RUN_DIR": folder,
            "DATA_DIR": here / "data",
            **variables,
        }
        varied = {
            "run_qwen_scaling.sh": "MODEL_PATH",
            "run_llama_grpo.sh": "MODEL_PATH",
            "table5_mixtures.sh": "TRAIN_FILE",
        }
        chosen.pop(varied.get(Path(script).name), None)
        done = run_script(script, *arguments, timeout=3000, cwd=here, **chosen)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]

    return run


@pytest.fixture(scope="module")
def reason_sft(train, conversations, tmp_path_factory):
    """The tiny model after the Reason-SFT script, at a learning rate for its size."""
    folder = tmp_path_factory.mktemp("runs") / "reason_sft"
    data = {"TRAIN_FILE": conversations, "VAL_FILE": conversations}
    train("ablations/table3_reason_sft.sh", folder, "trainer.total_epochs=1", "optim.lr=3e-3", **data)
    (model,) = (folder / "checkpoints").glob("global_step_*/huggingface")
    return model


def rows(path):
    return [line.value for line in read_jsonl(path)]


def assert_one_step(folder):
    (step,) = [record for record in rows(folder / "metrics.jsonl") if REWARD in record["data"]]
    assert step["step"] == 1
    assert len(rows(folder / "rollouts" / "1.jsonl")) == ROLLOUTS
    assert tracked_step(folder / "checkpoints") == 1
    assert json.loads((folder / "run.json").read_text())["exit"] == "finished"


def run_folder(folder):
    """The folder of the run: a sweep makes a subfolder for each."""
    return folder if (folder / "run.json").exists() else next(path for path in folder.iterdir() if path.is_dir())


@pytest.mark.parametrize("script", ALONE, ids=str)
def test_a_script_for_one_node_runs_a_step(script, train, tmp_path):
    train(script, tmp_path / "run", *ONE_STEP, **FIRST)
    folder = run_folder(tmp_path / "run")
    assert_one_step(folder)
    adapters = folder / "checkpoints" / "global_step_1" / "actor" / "lora_train_meta.json"
    assert adapters.exists() == ("lora" in script.name)
    assert not adapters.exists() or json.loads(adapters.read_text())["r"] == 32


def test_sft_on_calls_alone_runs(train, conversations, tmp_path):
    data = {"TRAIN_FILE": conversations, "VAL_FILE": conversations}
    train("ablations/table3_no_reason_sft.sh", tmp_path / "run", "trainer.total_training_steps=4", **data)
    assert list((tmp_path / "run" / "checkpoints").glob("global_step_4/huggingface/model.safetensors"))


def test_grpo_starts_from_the_sft_model(train, tmp_path, tiny_data):
    train("ablations/table3_sft_then_rl.sh", tmp_path / "run", *ONE_STEP, SFT_TRAIN_FILE=tiny_data / "sft.parquet")
    assert_one_step(tmp_path / "run" / "rl")
    batches = pq.read_metadata(tiny_data / "sft.parquet").num_rows // 4
    assert tracked_step(tmp_path / "run" / "sft" / "checkpoints") == 3 * batches
    config = yaml.safe_load((tmp_path / "run" / "rl" / "config.yaml").read_text())
    started_from = config["actor_rollout_ref"]["model"]["path"]
    assert started_from.startswith(str(tmp_path / "run" / "sft" / "checkpoints"))


def test_each_reward_trains_by_its_own_score_and_logs_the_common_acc(train, reason_sft, tmp_path):
    validated = [*ONE_STEP, "trainer.test_freq=1"]
    train("ablations/table4_rewards.sh", tmp_path / "run", *validated, MODEL_PATH=reason_sft)
    for variant in VARIANTS:
        folder = tmp_path / "run" / variant
        assert_one_step(folder)
        dump, validation = rows(folder / "rollouts" / "1.jsonl"), rows(folder / "validation" / "1.jsonl")
        for row in [*dump, *validation]:
            expected = compute_score("", row["output"], row["gts"], variant=variant)
            assert row["score"] == pytest.approx(expected["score"])
            # verl writes acc for validation only.
            assert row.get("acc", expected["acc"]) == expected["acc"]
        logged = {key for record in rows(folder / "metrics.jsonl") for key in record["data"]}
        assert {"acc", "score"} <= {key.split("/")[-2] for key in logged if key.startswith("val-")}
        assert all("acc" in row for row in validation) and validation
        # After SFT, some responses reason and call wrongly, which only the partial rewards pay for.
        paid_in_part = [row for row in dump if 0 < row["score"] < 1]
        assert bool(paid_in_part) == variant.startswith("partial")


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    """Two Ray nodes on this machine with the environment of a CPU run, which workers inherit from their node."""
    for name, value in cpu_environment(tmp_path / "cluster").items():
        monkeypatch.setenv(name, value)
    from ray.cluster_utils import Cluster

    node = {"num_cpus": 16, "num_gpus": 1, "object_store_memory": 256 << 20}
    cluster = Cluster(initialize_head=True, head_node_args={**node, "include_dashboard": False})
    try:
        cluster.add_node(**node)
        cluster.wait_for_nodes()
        yield cluster
    finally:
        cluster.shutdown()
        stop_left_over_processes(tmp_path / "cluster")


@pytest.mark.parametrize("script", [path for path in TRAINING if "4nodes" in path.name], ids=str)
def test_a_script_for_several_nodes_runs_a_step_on_two(script, cluster, train, tmp_path):
    two_nodes = [
        "trainer.nnodes=2",
        f"ray_kwargs.ray_init.address='{cluster.address}'",
        # Ray refuses resources for a cluster that is running.
        *(f"ray_kwargs.ray_init.{key}=null" for key in ("num_cpus", "num_gpus", "object_store_memory")),
    ]
    train(script, tmp_path / "run", *ONE_STEP, *two_nodes)
    assert_one_step(tmp_path / "run")
    shards = (tmp_path / "run" / "checkpoints" / "global_step_1" / "actor").glob("model_world_size_2_rank_*.pt")
    assert len(list(shards)) == 2
