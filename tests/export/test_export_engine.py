"""Exported models: their weights, their chat template in transformers and vLLM, and the check of a model folder."""

import json
import os
import shutil

import pyarrow.parquet as pq
import pytest
import torch
from chat_templates import OWN
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

from tooln1.chat_template import read_chat_template
from tooln1.cli import main
from tooln1.data.rows import TEMPLATE_KEY
from tooln1.errors import ProcessError, UserError
from tooln1.export.export import check_model_folder, merge, write_prompt
from tooln1.prompt import build_messages, load_template

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "Météo 😀",
            "description": 'Says "sun" & <rain>.\nTwo lines {tools}',
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string", "enum": ["Köln", "l'Aquila"]}, "days": {"maximum": 1e3}},
                "required": ["city"],
            },
        },
    },
    {"type": "function", "function": {"name": "clock"}},
]
CALLS = [
    {"name": "Météo 😀", "arguments": {"city": "Köln", "days": 2.0, "of": {"é": [None, True, '"\\']}}},
    {"name": "clock", "arguments": {}},
]
TURNS = [
    {"role": "user", "content": "Wie wird das Wetter? 'q' \"q\""},
    {"role": "assistant", "content": "", "calls": CALLS},
    {"role": "tool", "content": '{"é": 1}'},
    {"role": "tool", "content": "09:00"},
    {"role": "assistant", "content": "Sonnig, <b>warm</b>."},
    {"role": "user", "content": "Und?"},
    {"role": "assistant", "content": "At once.", "calls": CALLS[1:]},
    {"role": "tool", "content": ""},
]


@pytest.fixture(scope="module")
def model(tiny_model):
    return AutoModelForCausalLM.from_pretrained(tiny_model)


@pytest.fixture(scope="module")
def write_checkpoint(tiny_model):
    """Writes the checkpoint of a step as verl's FSDP engine does on one rank, without the optimizer."""

    def write(folder, model):
        actor = folder / "actor"
        (actor / "huggingface").mkdir(parents=True)
        torch.save(model.state_dict(), actor / "model_world_size_1_rank_0.pt")
        (actor / "fsdp_config.json").write_text(json.dumps({"FSDP_version": 2, "world_size": 1}))
        torch.save({}, folder / "data.pt")
        for path in tiny_model.iterdir():
            if path.suffix != ".safetensors":
                shutil.copy(path, actor / "huggingface")

    return write


@pytest.fixture
def copy(tiny_model, tmp_path):
    return shutil.copytree(tiny_model, tmp_path / "model")


def test_an_exported_model_has_the_weights_of_the_checkpoint_and_carries_its_prompt(
    run_dir, tmp_path, model, tiny_model, write_checkpoint, capsys
):
    write_checkpoint(run_dir / "checkpoints" / "best" / "global_step_2", model)
    output = tmp_path / "models" / "mine"
    main(["export", str(run_dir), "--output", str(output)])
    assert capsys.readouterr().out.strip() == str(output)
    loaded = AutoModelForCausalLM.from_pretrained(output, dtype=torch.bfloat16)
    for name, tensor in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor.bfloat16()), name
    assert (output / "prompt_template.txt").read_text() == load_template("compact")
    assert "Its chat template writes the prompt" in (output / "README.md").read_text()
    assert (output / "curves.png").stat().st_size > 1000
    assert os.listdir(output.parent) == ["mine"]
    messages = TURNS[:1]
    assert AutoTokenizer.from_pretrained(output).apply_chat_template(
        messages, tools=TOOLS, return_dict=False
    ) == AutoTokenizer.from_pretrained(tiny_model).apply_chat_template(
        build_messages(TOOLS, messages, template=load_template("compact")), return_dict=False
    )


def as_openai(turn):
    message = {"role": turn["role"], "content": turn["content"]}
    if "calls" in turn:
        message["tool_calls"] = [{"type": "function", "id": "x", "function": call} for call in turn["calls"]]
    return message


@pytest.mark.parametrize("own", OWN.values(), ids=OWN)
@pytest.mark.parametrize("context", ["", "You are an expert.\nIt is Monday."])
def test_the_chat_template_gives_the_prompt_of_training_token_for_token(own, context, copy, tiny_data):
    before = AutoTokenizer.from_pretrained(copy)
    before.chat_template = own
    before.save_pretrained(copy)
    write_prompt(copy, [tiny_data / "train.parquet"])
    after = AutoTokenizer.from_pretrained(copy)

    def tokens(tokenizer, messages, tools=None):
        return tokenizer.apply_chat_template(messages, tools=tools, add_generation_prompt=True, return_dict=False)

    system = [{"role": "system", "content": context}] if context else []
    for end in range(1, len(TURNS) + 1):
        built = build_messages(TOOLS, TURNS[:end], context, load_template("compact"))
        asked = [*system, *map(as_openai, TURNS[:end])]
        assert tokens(after, asked, TOOLS) == tokens(after, built) == tokens(before, built)


def test_vllm_hands_the_chat_template_text_and_not_parts(copy, tiny_data):
    hf = pytest.importorskip("vllm.renderers.hf", reason="vLLM is not installed")
    write_prompt(copy, [tiny_data / "train.parquet"])
    template = AutoTokenizer.from_pretrained(copy).chat_template
    assert hf._detect_content_format(template, default="openai") == "string"


def test_training_files_that_do_not_tell_one_template_leave_the_model_as_it_is(copy, tiny_data, tmp_path, capsys):
    other = tmp_path / "other.parquet"
    pq.write_table(pq.read_table(tiny_data / "train.parquet").replace_schema_metadata({TEMPLATE_KEY: "{tools}"}), other)
    own = (copy / "chat_template.jinja").read_text()
    for files in ([tiny_data / "train.parquet", other], [tmp_path / "gone.parquet"], []):
        write_prompt(copy, files)
        assert "do not tell one prompt template" in capsys.readouterr().err
        assert (copy / "chat_template.jinja").read_text() == own and not (copy / "prompt_template.txt").exists()
    write_prompt(copy, [other])
    assert (copy / "prompt_template.txt").read_text() == "{tools}"


def test_a_folder_of_a_model_passes_the_check(tiny_model):
    check_model_folder(tiny_model)


@pytest.mark.parametrize(
    "change, expected",
    [
        (lambda tensors: tensors.pop("model.norm.weight"), "the weights lack model.norm.weight"),
        (lambda tensors: tensors.update({"model.norm.weight": torch.ones(3)}), "model.norm.weight has shape"),
    ],
)
def test_weights_that_do_not_fit_are_found(change, expected, copy):
    from safetensors.torch import load_file, save_file

    tensors = load_file(copy / "model.safetensors")
    change(tensors)
    save_file(tensors, copy / "model.safetensors", {"format": "pt"})
    with pytest.raises(UserError, match=expected):
        check_model_folder(copy)


def test_a_folder_without_configuration_or_chat_template_is_named(copy):
    (copy / "chat_template.jinja").unlink()
    with pytest.raises(UserError, match="no chat template"):
        check_model_folder(copy)
    (copy / "config.json").unlink()
    with pytest.raises(UserError, match="does not load"):
        check_model_folder(copy)


def test_a_chat_template_without_a_file_is_read_from_the_tokenizer(copy):
    config = json.loads((copy / "tokenizer_config.json").read_text())
    own = (copy / "chat_template.jinja").read_text()
    (copy / "chat_template.jinja").unlink()
    with pytest.raises(UserError, match="has no chat template"):
        read_chat_template(copy)
    (copy / "tokenizer_config.json").write_text(json.dumps({**config, "chat_template": own}))
    assert read_chat_template(copy) == own
    for path in [*copy.glob("tokenizer*"), copy / "config.json"]:
        path.unlink()
    with pytest.raises(UserError, match="the tokenizer does not load"):
        read_chat_template(copy)


def test_adapters_are_merged_into_the_weights(tiny_model, tmp_path, write_checkpoint):
    """What a LoRA run saves: the weights of peft's model, adapters among them, and lora_train_meta.json."""
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


class Trap:
    """Unpickling it writes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


def test_a_checkpoint_that_holds_more_than_weights_is_refused_and_runs_nothing(model, tmp_path, write_checkpoint):
    write_checkpoint(tmp_path / "step", model)
    shard = tmp_path / "step" / "actor" / "model_world_size_1_rank_0.pt"
    torch.save({**model.state_dict(), "more": Trap(str(tmp_path / "ran"))}, shard)
    with pytest.raises(ProcessError, match="Weights only load failed"):
        merge(tmp_path / "step", tmp_path / "merged", tmp_path / "log")
    assert not (tmp_path / "ran").exists()


def test_sharded_tensors_are_weights(model, tmp_path, write_checkpoint):
    """What FSDP2 saves on several ranks, here on one."""
    from torch import distributed
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.tensor import Shard, distribute_tensor

    write_checkpoint(tmp_path / "step", model)
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    try:
        mesh = init_device_mesh("cpu", (1,), mesh_dim_names=("fsdp",))
        sharded = {name: distribute_tensor(one.clone(), mesh, [Shard(0)]) for name, one in model.state_dict().items()}
        torch.save(sharded, tmp_path / "step" / "actor" / "model_world_size_1_rank_0.pt")
    finally:
        distributed.destroy_process_group()
    merge(tmp_path / "step", tmp_path / "merged", tmp_path / "log")
    check_model_folder(tmp_path / "merged")


@pytest.mark.parametrize("load", [read_chat_template, check_model_folder])
def test_code_that_a_model_brings_is_never_run(load, copy, tmp_path, monkeypatch):
    (copy / "tok.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Tok: pass\n")
    config = json.loads((copy / "tokenizer_config.json").read_text())
    config |= {"tokenizer_class": "Tok", "auto_map": {"AutoTokenizer": ["tok.Tok", None]}}
    (copy / "tokenizer_config.json").write_text(json.dumps(config))
    (copy / "config.json").write_text('{"model_type": "mine", "auto_map": {"AutoConfig": "tok.Tok"}}')
    (copy / "chat_template.jinja").unlink()
    monkeypatch.setattr("builtins.input", lambda *_: "y")  # transformers would ask
    with pytest.raises(UserError):
        load(copy)
    assert not (tmp_path / "ran").exists()
