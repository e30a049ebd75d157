"""Exporting: which checkpoint, what is written, what is refused, what is left behind."""

import json
import os
import shutil

import pyarrow.parquet as pq
import pytest
import torch

from tooln1.cli import main
from tooln1.data.rows import TEMPLATE_KEY
from tooln1.errors import UserError
from tooln1.export.check import check_model_folder
from tooln1.export.export import export, find_checkpoint
from tooln1.export.merge import merge, note_template
from tooln1.prompt import load_template


def test_an_exported_model_is_the_checkpoints_and_loads(run_dir, tmp_path, model, capsys):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    output = tmp_path / "models" / "mine"
    main(["export", str(run_dir), "--output", str(output)])
    assert capsys.readouterr().out.strip() == str(output)
    loaded = AutoModelForCausalLM.from_pretrained(output, dtype=torch.bfloat16)
    for name, tensor in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor.bfloat16()), name
    assert AutoTokenizer.from_pretrained(output).chat_template
    assert (output / "prompt_template.txt").read_text() == load_template("compact")
    assert "# mine" in (output / "README.md").read_text() and (output / "curves.png").stat().st_size > 1000
    assert os.listdir(output.parent) == ["mine"]
    with pytest.raises(UserError, match="mine: exists already"):
        export(run_dir, "best", output)


@pytest.mark.parametrize(
    "step, expected",
    [
        ("best", "best/global_step_2"),
        ("last", "global_step_4"),
        ("2", "global_step_2"),
        ("4", "global_step_4"),
    ],
)
def test_a_step_is_found_by_number_best_or_last(step, expected, run_dir):
    assert find_checkpoint(run_dir / "checkpoints", step) == run_dir / "checkpoints" / expected


def test_a_best_step_that_was_rotated_away_is_found_beside_the_rotation(run_dir):
    shutil.rmtree(run_dir / "checkpoints" / "global_step_2")
    found = find_checkpoint(run_dir / "checkpoints", "2")
    assert found == run_dir / "checkpoints" / "best" / "global_step_2"


def test_without_a_best_one_the_last_is_taken(run_dir):
    (run_dir / "checkpoints" / "best.json").unlink()
    assert find_checkpoint(run_dir / "checkpoints", "best").name == "global_step_4"


@pytest.mark.parametrize(
    "step, expected",
    [("3", "no checkpoint 3; the steps with one are: 2, 4"), ("worst", "expected a number, best or last")],
)
def test_a_step_that_is_not_there_is_named(step, expected, run_dir, tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["export", str(run_dir), "--step", step, "--output", str(tmp_path / "mine")])
    assert stop.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert expected in line


def test_a_damaged_checkpoint_is_named_and_nothing_is_written(run_dir, tmp_path):
    shard = run_dir / "checkpoints" / "global_step_4" / "actor" / "model_world_size_1_rank_0.pt"
    os.truncate(shard, shard.stat().st_size - 1000)
    with pytest.raises(UserError, match="model_world_size_1_rank_0.pt.*there are 2, 4"):
        export(run_dir, "last", tmp_path / "models" / "mine")
    assert not (tmp_path / "models").exists()


def test_what_fails_on_the_way_leaves_nothing(run_dir, tmp_path, monkeypatch):
    def fail(_checkpoint, target, _log):
        target.mkdir()
        (target / "half").touch()
        raise UserError("no")

    monkeypatch.setattr("tooln1.export.export.merge", fail)
    with pytest.raises(UserError, match="no"):
        export(run_dir, "last", tmp_path / "models" / "mine")
    assert os.listdir(tmp_path / "models") == []


def test_a_folder_of_a_model_passes_the_check(tiny_model):
    check_model_folder(tiny_model)


@pytest.mark.parametrize(
    "change, expected",
    [
        (lambda tensors: tensors.pop("model.norm.weight"), "the weights lack model.norm.weight"),
        (lambda tensors: tensors.update({"model.norm.weight": torch.ones(3)}), "model.norm.weight has shape"),
    ],
)
def test_weights_that_do_not_fit_are_found(change, expected, tiny_model, tmp_path):
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "model"
    shutil.copytree(tiny_model, folder)
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(UserError, match=expected):
        check_model_folder(folder)


def test_a_folder_without_a_tokenizer_or_a_configuration_is_named(tiny_model, tmp_path):
    shutil.copytree(tiny_model, tmp_path / "model")
    (tmp_path / "model" / "config.json").unlink()
    with pytest.raises(UserError, match="does not load"):
        check_model_folder(tmp_path / "model")


@pytest.mark.slow
def test_files_that_disagree_or_are_gone_note_no_template(tiny_data, tmp_path):
    other = tmp_path / "other.parquet"
    pq.write_table(pq.read_table(tiny_data / "train.parquet").replace_schema_metadata({TEMPLATE_KEY: "{tools}"}), other)
    for files in ([tiny_data / "train.parquet", other], [tmp_path / "gone.parquet"], []):
        note_template(tmp_path, *files)
        assert not (tmp_path / "prompt_template.txt").exists()
    note_template(tmp_path, other)
    assert (tmp_path / "prompt_template.txt").read_text() == "{tools}"


def test_adapters_are_merged_into_the_weights(tiny_model, tmp_path, write_checkpoint):
    """What a LoRA run saves: the weights of peft's model, adapters among them, and lora_train_meta.json."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.manual_seed(0)
    adapted = get_peft_model(
        AutoModelForCausalLM.from_pretrained(tiny_model),
        LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", init_lora_weights=False),
    )
    write_checkpoint(tmp_path / "global_step_1", adapted)
    meta = {"r": 4, "lora_alpha": 8, "task_type": "CAUSAL_LM"}
    (tmp_path / "global_step_1" / "actor" / "lora_train_meta.json").write_text(json.dumps(meta))
    merge(tmp_path / "global_step_1", tmp_path / "merged", tmp_path / "log")
    check_model_folder(tmp_path / "merged")
    expected = adapted.merge_and_unload().state_dict()
    found = AutoModelForCausalLM.from_pretrained(tmp_path / "merged", dtype=torch.float32).state_dict()
    base = AutoModelForCausalLM.from_pretrained(tiny_model).state_dict()
    name = "model.layers.0.self_attn.q_proj.weight"
    assert not torch.allclose(expected[name], base[name], atol=0.05)  # the adapters do something
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, atol=0.05, rtol=0.05, msg=name)
