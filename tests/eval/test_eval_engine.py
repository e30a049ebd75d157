"""`tooln1 eval` of a checkpoint, which a real server answers."""

import json

import pytest

from tooln1.cli import main


@pytest.mark.cpu_engine
@pytest.mark.slow
def test_a_checkpoint_is_served_and_evaluated(tmp_path, tiny_model, data, monkeypatch):
    """The untrained model knows nothing; what counts is that every case gets a response from the real server."""
    pytest.importorskip("vllm", reason="needs vLLM")
    arguments = ["--bench", "api_bank", "--data", str(data), "--output", str(tmp_path), "--limit", "4"]
    main(["eval", str(tiny_model), *arguments, "--max-tokens", "16", "--serve", "--max-num-seqs 4"])
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["settings"]["interface"] == "completions"
    assert summary["model"] == str(tiny_model)
    category = summary["benchmarks"]["api_bank"]["categories"]["level_1_call"]
    assert (category["scored"], category["unanswered"]) == (4, 0)
    assert summary["benchmarks"]["api_bank"]["truncated"] > 0
