"""A server for a checkpoint: started, awaited, and stopped whatever happens."""

import json
import os
import sys

import pytest

from tooln1.cli import main
from tooln1.errors import UserError
from tooln1.eval.server import served


def test_a_server_that_ends_is_reported_with_the_end_of_its_log(tmp_path):
    with pytest.raises(
        UserError, match=r"tooln1 serve ended \(2\); its output is in .*server\.log and ends: .*nothing"
    ):
        with served(tmp_path / "nothing", tmp_path / "server.log"):
            pytest.fail("no model is there to be served")


def test_a_server_that_does_not_answer_in_time_is_stopped(tmp_path, monkeypatch):
    script = tmp_path / "silent"
    script.write_text(f"#!{sys.executable}\nimport os, time\nprint(os.getpid(), flush=True)\ntime.sleep(600)\n")
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))
    with pytest.raises(UserError, match="did not answer within 2 seconds"):
        with served(tmp_path, tmp_path / "server.log", patience=2):
            pytest.fail("nobody answers")
    process = int((tmp_path / "server.log").read_text())
    assert not os.path.exists(f"/proc/{process}")


@pytest.mark.slow
def test_a_checkpoint_is_served_evaluated_and_left_without_processes(tmp_path, tiny_model, data, monkeypatch):
    """The untrained model knows nothing; what counts is that every case is answered through the real server."""
    pytest.importorskip("vllm", reason="needs vLLM")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    arguments = ["--bench", "api_bank", "--data", str(data), "--output", str(tmp_path), "--limit", "4"]
    main(["eval", str(tiny_model), *arguments, "--max-tokens", "16", "--serve", "--max-num-seqs 4"])
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["settings"]["interface"] == "completions"
    assert summary["model"] == str(tiny_model)
    category = summary["benchmarks"]["api_bank"]["categories"]["level_1_call"]
    assert (category["scored"], category["unanswered"]) == (4, 0)
    assert summary["benchmarks"]["api_bank"]["truncated"] > 0
