"""The CPU recipe on two Ray nodes: two FSDP ranks and two vLLM replicas finish a step together.

Both nodes are logical ones of this machine (ray.cluster_utils), each with one logical GPU, so placement, the process
group over two ranks, weight transfer to two replicas and the shards of the checkpoint are the real ones; only the
network between two machines is not. About two minutes on two cores, and 9 GB of memory.
"""

import ast
import re
import subprocess
import sys

import pytest

from tooln1.platforms.cpu.environment import cpu_environment
from tooln1.preflight import stop_left_over_processes
from tooln1.tiny.stages import CONFIGS, GRPO
from tooln1.train.metrics import REWARD, read_jsonl

pytestmark = pytest.mark.slow

STORE = 256 << 20


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    """Two nodes whose processes have a CPU run's environment: Ray's workers inherit their node's, not the driver's."""
    for name, value in cpu_environment(tmp_path).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("VERL_FILE_LOGGER_PATH", str(tmp_path / "metrics.jsonl"))
    from ray.cluster_utils import Cluster

    node = {"num_cpus": 16, "num_gpus": 1, "object_store_memory": STORE, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=node)
    try:
        cluster.add_node(num_cpus=16, num_gpus=1, object_store_memory=STORE)
        cluster.wait_for_nodes()
        yield cluster
    finally:
        cluster.shutdown()
        stop_left_over_processes(tmp_path)


def test_two_ranks_and_two_replicas_finish_a_step(cluster, tmp_path, tiny_model, tiny_data):
    command = [
        *(sys.executable, "-m", "verl.trainer.main_ppo", "--config-path", str(CONFIGS), "--config-name", GRPO),
        f"data.train_files={tiny_data / 'train.parquet'}",
        f"data.val_files={tiny_data / 'test.parquet'}",
        f"actor_rollout_ref.model.path={tiny_model}",
        "data.train_batch_size=4",
        "actor_rollout_ref.rollout.n=2",
        "trainer.nnodes=2",
        "trainer.total_training_steps=1",
        "trainer.save_freq=1",
        "trainer.test_freq=-1",
        "trainer.val_before_train=false",
        f"trainer.default_local_dir={tmp_path / 'checkpoints'}",
        f"trainer.rollout_data_dir={tmp_path / 'rollouts'}",
        f"ray_kwargs.ray_init.address='{cluster.address}'",
        # A cluster that runs already has its resources; Ray refuses to be told them again.
        "ray_kwargs.ray_init.num_cpus=null",
        "ray_kwargs.ray_init.num_gpus=null",
        "ray_kwargs.ray_init.object_store_memory=null",
        f"hydra.run.dir={tmp_path / 'hydra'}",
    ]
    done = subprocess.run(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stdout[-6000:]

    shards = sorted(path.name for path in (tmp_path / "checkpoints" / "global_step_1" / "actor").glob("model_*.pt"))
    assert shards == ["model_world_size_2_rank_0.pt", "model_world_size_2_rank_1.pt"]
    servers = ast.literal_eval(re.search(r"LLMServerManager: (\[.*?\])", done.stdout)[1])
    assert len(set(servers)) == 2
    (step,) = [record for record in read_jsonl(tmp_path / "metrics.jsonl") if REWARD in record["data"]]
    assert step["step"] == 1 and 0.0 <= step["data"][REWARD] <= 1.0
    assert len(read_jsonl(tmp_path / "rollouts" / "1.jsonl")) == 8
