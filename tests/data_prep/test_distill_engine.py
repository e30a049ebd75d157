"""data_prep/distill.py against a real vLLM server."""

import json
import re
import urllib.request

from data_scripts import rows_of, run_script

from data_prep import distill
from tooln1.prompt import format_response


def test_a_vllm_server_gets_the_requests(tmp_path, model_server, xlam_folder, monkeypatch):
    """An untrained model earns nothing by itself: the server must decode the right response to one row."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    first = rows_of(xlam_folder)[0]
    response = format_response(json.loads(first["reward_model"]["ground_truth"]), "the city and the day are given")
    extra = json.dumps({"structured_outputs": {"regex": re.sub(r"([\[\]{}.])", r"\\\1", response)}})
    with urllib.request.urlopen(f"{model_server}/models") as found:
        model = json.load(found)["data"][0]["id"]
    endpoint = {"base_url": model_server, "model": model}
    options = {"max_tokens": 200, "concurrency": 4, "limit": 6, "extra_body": extra}
    rows, stats = run_script(distill, tmp_path, xlam_folder, **endpoint, **options)
    assert [row["messages"] for row in rows] == [[*first["prompt"], {"role": "assistant", "content": response}]]
    assert (stats["responses"], stats["failed"]) == (6, 0)
    assert stats["data_sources"]["toolcall/xlam"]["dropped"] == {"no_response": 34, "not_rewarded": 5}
    assert stats["input_tokens"] > 6 * 100 and stats["output_tokens"] > 6 * 10
