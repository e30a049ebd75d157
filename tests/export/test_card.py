"""The model card: metadata that the hub reads, and what the run tells about the model."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from omegaconf import OmegaConf

from tooln1.chat_template import build_chat_template
from tooln1.export.card import draw_curves, write_card
from tooln1.export.export import read_run
from tooln1.files import write_json


@pytest.fixture
def card(run_dir, tmp_path):
    """Writes the card of a step, and returns its metadata and its text."""

    def write(step=2, name="mine"):
        output = tmp_path / "output"
        output.mkdir(exist_ok=True)
        (output / "chat_template.jinja").write_text(build_chat_template(""), encoding="utf-8")
        write_card(output, read_run(run_dir), step, name)
        text = (output / "README.md").read_text()
        _, metadata, text = text.split("---\n", 2)
        return yaml.safe_load(metadata), text

    return write


def test_the_metadata_are_what_the_hub_reads(card):
    from huggingface_hub import ModelCardData

    metadata, _ = card()
    assert metadata["base_model"] == "Qwen/Qwen2.5-7B-Instruct"
    assert metadata["pipeline_tag"] == "text-generation" and metadata["library_name"] == "transformers"
    assert {"tool-calling", "grpo"} <= set(metadata["tags"])
    (result,) = metadata["model-index"][0]["results"]
    assert result["metrics"][0] == {"type": "accuracy", "value": 0.75}
    assert "license" not in metadata  # the base model's card is not here
    assert ModelCardData(**metadata).to_dict() == metadata


def test_the_text_tells_model_data_settings_curve_and_versions(card):
    _, text = card()
    assert "# mine" in text and "Qwen/Qwen2.5-7B-Instruct, trained with GRPO" in text
    assert "those of step 2, the best of the run by validation accuracy" in text
    assert "| toolcall/synthetic | 300 |" in text
    assert '"seed": 0' in text  # stats.json
    assert "| `actor_rollout_ref.rollout.n` | 5 |" in text
    assert "| 0 | – | 0.000 |\n| 2 | 0.200 | 0.750 |\n| 4 | 0.400 | 0.500 |" in text
    assert "Not evaluated on a benchmark" in text
    assert "verl 0.9.1" in text
    assert "{{" not in text and "{%" not in text
    compile(text.split("```python\n")[1].split("```")[0], "usage", "exec")


def test_a_data_set_of_the_hub_is_credited_only_where_the_rows_came_from_it(run_dir, card, tmp_path):
    """data_source names the kind of rows, whoever made them; the chain of stats.json names their source."""
    folders = {name: tmp_path / name for name in ("mixed", "hub", "private")}
    for folder in folders.values():
        folder.mkdir()
    rows = [{"data_source": f"toolcall/{name}"} for name in ("xlam", "toolace_single_turn", "shop")]
    pq.write_table(pa.Table.from_pylist(rows), folders["mixed"] / "train.parquet")
    write_json(folders["private"] / "stats.json", {"source": "data/shop.json, other/shop.parquet"})
    write_json(folders["hub"] / "stats.json", {"source": "Team-ACE/ToolACE, mine.json"})
    config = {"data": {"train_files": [str(folders["mixed"] / "train.parquet")]}, "trainer": {}}
    OmegaConf.save(OmegaConf.create(config), run_dir / "config.yaml")
    for inputs, credited in ((["private"], None), (["private", "hub"], ["Team-ACE/ToolACE"])):
        write_json(folders["mixed"] / "stats.json", {"inputs": [str(folders[name]) for name in inputs]})
        metadata, text = card()
        assert metadata.get("datasets") == credited
        assert ("Team-ACE" in text) == bool(credited) and "Salesforce" not in text
        assert "| toolcall/shop | 1 |" in text and "| toolcall/xlam | 1 |" in text


def test_settings_that_were_changed_on_the_way_are_told(run_dir, card):
    pairs = [("data.seed", None, 1), ("content of /me/rows.parquet", "ab", "cd"), ("data.val_files", "/a/x", ["/a/y"])]
    changes = [{"step": 3, "key": key, "old": old, "new": new} for key, old, new in pairs]
    write_json(run_dir / "run.json", {"changes": changes})
    told = ["`data.seed` from – to 1", "`content of rows.parquet` from ab to cd", '`data.val_files` from x to ["y"]']
    assert "".join(f"- after step 3: {one}\n" for one in told) in card()[1]


def test_the_card_of_another_step_does_not_claim_to_be_the_best(card):
    metadata, text = card(step=4)
    assert "those of step 4." in text
    assert metadata["model-index"][0]["results"][0]["metrics"][0]["value"] == 0.5


def test_evaluations_become_tables(run_dir, card):
    category = {"accuracy": 0.5, "correct": 5, "scored": 10, "unanswered": 0, "interval": [0.24, 0.76]}
    benchmark = {"categories": {"simple": category}, "groups": {}, "accuracy": 0.5, "errors": {}}
    summary = {"model": "m", "created": "2026", "benchmarks": {"bfcl": benchmark}, "published": []}
    (run_dir / "eval" / "after").mkdir(parents=True)
    (run_dir / "eval" / "after" / "summary.json").write_text(json.dumps(summary))
    _, text = card()
    assert "**bfcl** (after)" in text and "| simple | " in text and "Not evaluated" not in text


def test_what_the_run_does_not_tell_is_not_recorded(run_dir, card):
    for name in ("config.yaml", "metrics.jsonl", "run.json"):
        (run_dir / name).unlink()
    for path in (run_dir / "validation").iterdir():
        path.unlink()
    metadata, text = card(name="bare")
    assert "base_model" not in metadata and "model-index" not in metadata
    assert text.count("Not recorded") == 4  # data, settings, curve, versions
    assert "the model it was trained from" in text


def test_a_folder_as_base_model_is_called_by_its_name_only(run_dir, card, tmp_path):
    base = tmp_path / "secret" / "warm_start"
    base.mkdir(parents=True)
    (base / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
    config = {"actor_rollout_ref": {"model": {"path": str(base)}}, "trainer": {}}
    OmegaConf.save(OmegaConf.create(config), run_dir / "config.yaml")
    metadata, text = card()
    assert "warm_start, trained with GRPO" in text and "secret" not in text
    assert metadata["license"] == "apache-2.0" and "base_model" not in metadata


def test_curves_are_the_same_bytes_every_time(tmp_path):
    for name in ("one.png", "two.png"):
        assert draw_curves({1: 0.1, 2: 0.2}, {0: 0.0, 2: 0.5}, tmp_path / name)
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
    assert not draw_curves({}, {}, tmp_path / "none.png")
