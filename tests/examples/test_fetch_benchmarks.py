"""examples/fetch_benchmarks.sh without a network: what is there is kept, and a failure leaves nothing behind."""

import os
import subprocess
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[2] / "examples" / "fetch_benchmarks.sh"


def fetch(folder, sources):
    environment = {**os.environ, "SOURCES": str(sources)}
    return subprocess.run(["bash", SCRIPT, folder], capture_output=True, text=True, env=environment)


def test_what_is_there_is_kept(tmp_path):
    for name in ("api-bank", "acebench/data_all", "hammer/apibank_l1.json"):
        (tmp_path / name).mkdir(parents=True)
    done = fetch(tmp_path, tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_source_without_the_commit_is_named(tmp_path):
    subprocess.run(["git", "init", "--quiet", tmp_path / "DAMO-ConvAI"], check=True)
    done = fetch(tmp_path / "new", tmp_path)
    assert done.returncode == 2
    assert "DAMO-ConvAI: cannot fetch commit 483554eae102996f5ec1f4feab4e78ef29c2a394" in done.stderr
    assert list((tmp_path / "new").iterdir()) == []
