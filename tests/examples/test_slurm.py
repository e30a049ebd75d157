"""examples/slurm/ray_cluster.sbatch with stand-ins for Slurm's and Ray's commands: order, exit code and signal.

Not covered: a real Slurm. That the run scripts train on a Ray cluster of two nodes is tested in test_real_runs.py.
"""

import os
import signal
import subprocess

import pytest
from example_scripts import EXAMPLES

STAND_INS = {
    "scontrol": "echo node1; echo node2",
    # Two tasks, as srun would start them on two nodes; the look-up of the head's address runs by itself.
    "srun": """
        if [[ "$1" != bash ]]; then echo 10.0.0.1; exit; fi
        SLURM_PROCID=0 "$@" & one=$!
        SLURM_PROCID=1 "$@" & two=$!
        trap 'pkill -P $two; kill $one $two' TERM
        wait""",
    "ray": """
        if [[ "$1" == list ]]; then
          [[ -f "$LOG" ]] && sed -n 's/^start.*/"node_id": "x"/p' "$LOG"
          exit 0
        fi
        echo "$* RAY_ADDRESS=${RAY_ADDRESS:-}" >>"$LOG"
        exec sleep 60""",
}


@pytest.fixture
def job(tmp_path):
    """Starts the job script with a script to run; returns the process and the file that records Ray's calls."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("scontrol", "srun", "ray"):
        (folder / name).write_text(f"#!/usr/bin/env bash\n{STAND_INS[name]}\n")
        (folder / name).chmod(0o755)
    log = tmp_path / "log"

    def start(body, *arguments):
        script = tmp_path / "run.sh"
        script.write_text(f"set -eu\n{body}\n")
        env = {
            **os.environ,
            "PATH": f"{folder}:{os.environ['PATH']}",
            "LOG": str(log),
            "SLURM_JOB_NODELIST": "node[1-2]",
        }
        command = ["bash", str(EXAMPLES / "slurm" / "ray_cluster.sbatch"), str(script), *arguments]
        return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True), log

    return start


def test_the_script_runs_on_a_cluster_of_all_nodes_and_its_exit_code_is_the_jobs(job):
    process, log = job('echo "$RAY_ADDRESS $*"; exit 7', "trainer.save_freq=3", "two words")
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 7
    assert output.split("\n")[0] == "10.0.0.1:6379 trainer.save_freq=3 two words"
    head, worker = sorted(log.read_text().splitlines(), key=lambda line: "--head" not in line)
    # Ray would take the variable for the address of a cluster to join.
    assert "--head --port=6379" in head and head.endswith("RAY_ADDRESS=")
    assert "--address=10.0.0.1:6379" in worker


def test_slurms_signal_reaches_the_run_which_may_take_its_time(job):
    process, _ = job('trap "sleep 1; echo saved; exit 3" TERM; echo running; while true; do sleep 0.1; done')
    assert process.stdout.readline() == "running\n"
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=60)
    assert output == "saved\n" and process.returncode == 3
