"""What verl makes of the files: its RL dataset, its SFT dataset, and its count of the prompts' tokens."""

import json
import re

import pytest
from data_scripts import rows_of, run_script
from omegaconf import OmegaConf

from data_prep import mix, sft, xlam
from tooln1.config import compose
from tooln1.errors import UserError
from tooln1.prompt import build_system, format_call_turn

# As in Qwen2.5, a tool's result is a user turn.
CHAT_TEMPLATE = """{%- for message in messages %}
{%- if message.role == 'tool' %}
{{- '<|im_start|>user\n<tool_response>\n' + message.content + '\n</tool_response><|im_end|>\n' }}
{%- else %}
{{- '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>\n' }}
{%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{- '<|im_start|>assistant\n' }}{% endif %}"""


@pytest.fixture(scope="session")
def qwen_tokenizer():
    """A tokenizer of single bytes with Qwen2.5's chat template; it gives every text back as it was."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={token: number for number, token in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|im_end|>")
    fast.chat_template = CHAT_TEMPLATE
    return fast


@pytest.fixture
def rl_dataset(tmp_path, monkeypatch, qwen_tokenizer):
    import datasets
    from verl.utils.dataset.rl_dataset import RLHFDataset

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    config = OmegaConf.create({"max_prompt_length": 8192, "filter_overlong_prompts_workers": None})
    return lambda *files: RLHFDataset([str(file) for file in files], qwen_tokenizer, config)


def test_verl_reads_prepared_and_mixed_rows(tmp_path, toolace_folder, xlam_folder, rl_dataset):
    from verl.utils.dataset.rl_dataset import collate_fn

    mixed = tmp_path / "mix"
    run_script(mix, mixed, toolace_folder, xlam_folder, mask=0.5, irrelevance=0.2)
    files = [folder / f"{split}.parquet" for folder in (toolace_folder, mixed) for split in ("train", "test")]
    data, expected = rl_dataset(*files), rows_of(toolace_folder) + rows_of(mixed)
    # None is lost: the filter for long prompts renders each one.
    assert len(data) == len(expected) == 100
    batch = collate_fn([data[number] for number in range(len(data))])
    assert list(map(list, batch["raw_prompt"])) == [row["prompt"] for row in expected]
    assert list(batch["index"]) == [row["extra_info"]["index"] for row in expected]
    for name in ("reward_model", "data_source"):
        assert list(batch[name]) == [row[name] for row in expected]


def test_a_prompt_reads_as_training_and_serving_write_it(toolace_folder, rl_dataset, qwen_tokenizer):
    source = json.loads((toolace_folder / "in.json").read_text())
    data = rl_dataset(toolace_folder / "train.parquet")
    [item] = [one for one in data if one["extra_info"]["source_row"] == 4 and one["extra_info"]["turn"] == 5]
    text = qwen_tokenizer.apply_chat_template(list(item["raw_prompt"]), add_generation_prompt=True, tokenize=False)
    tools = json.loads(source[4]["system"].split("\n")[1])
    call = {"name": "Set Clock (v2)", "arguments": {"time": "0:00 (clock 4)"}}
    assert text == (
        f"<|im_start|>system\n{build_system(tools, 'It is day 4.')}<|im_end|>\n"
        "<|im_start|>user\nPlease set clock 4 to 0 o'clock.<|im_end|>\n"
        f"<|im_start|>assistant\n{format_call_turn([call])}<|im_end|>\n"
        '<|im_start|>user\n<tool_response>\n[{"name": "Set Clock (v2)", "results": 0}]\n</tool_response><|im_end|>\n'
        "<|im_start|>assistant\nDone.<|im_end|>\n"
        "<|im_start|>user\nPlease set clock 4 to 1 o'clock.<|im_end|>\n"
        "<|im_start|>assistant\n"
    )


def learned_text(dataset, number, tokenizer):
    item = dataset[number]
    return tokenizer.decode(item["input_ids"][item["loss_mask"] == 1])


def test_the_recipe_learns_the_last_response_unless_told_otherwise(tmp_path, toolace_folder, qwen_tokenizer):
    from verl.trainer.sft_trainer import create_sft_dataset

    run_script(sft, tmp_path, toolace_folder)
    common = {"max_length": 8192, "pad_mode": "no_padding", "truncation": "error"}
    every, last = (
        create_sft_dataset(
            [str(tmp_path / "train.parquet")],
            OmegaConf.create({**common, "custom_cls": compose("tool_n1_sft", overrides).data.custom_cls}),
            qwen_tokenizer,
            None,
        )
        for overrides in (["data.custom_cls.path=null"], [])
    )
    rows = rows_of(tmp_path, "train")
    assert len(every) == len(last) == len(rows)
    for number, row in enumerate(rows):
        said = [m["content"] + "<|im_end|>\n" for m in row["messages"] if m["role"] == "assistant"]
        assert learned_text(every, number, qwen_tokenizer) == "".join(said)
        assert learned_text(last, number, qwen_tokenizer) == said[-1]
    assert any(len(row["messages"]) > 4 for row in rows)


def test_the_synthetic_world_fits_the_quickstarts_recipe(tiny_data, tiny_model, tmp_path, monkeypatch):
    import datasets
    from transformers import AutoTokenizer
    from verl.utils.dataset.rl_dataset import RLHFDataset

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    config = compose("tool_n1_grpo_cpu", ["data.filter_overlong_prompts_workers=1"]).data
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    data, expected = (
        RLHFDataset([str(tiny_data / "train.parquet")], tokenizer, config),
        rows_of(tiny_data, "train"),
    )
    assert len(data) == len(expected)  # none is longer than the recipe allows
    for index in (0, 7, 299):
        assert list(data[index]["raw_prompt"]) == expected[index]["prompt"]
        assert data[index]["reward_model"] == expected[index]["reward_model"]


def test_prompt_lengths_are_those_that_verl_counts(tmp_path, xlam_folder, qwen_tokenizer, capsys):
    qwen_tokenizer.save_pretrained(tmp_path / "tokenizer")
    rows = rows_of(xlam_folder, "train")
    lengths = sorted(
        len(qwen_tokenizer.apply_chat_template(row["prompt"], add_generation_prompt=True)["input_ids"]) for row in rows
    )
    limit = lengths[-4]
    options = {"tokenizer": tmp_path / "tokenizer", "max_prompt_length": limit}
    _, stats = run_script(xlam, tmp_path / "out", xlam_folder / "in.json", **options)
    found = stats["prompt_tokens"]["train"]
    assert found["max"] == lengths[-1]
    assert found["p50"] == lengths[(len(lengths) + 1) // 2 - 1]
    assert found["over_limit"] == sum(length > limit for length in lengths)
    assert re.search(rf"train .* {found['max']:,} +{found['over_limit']}\n", capsys.readouterr().out)


def test_a_tokenizer_that_does_not_load_is_one_line(tmp_path, xlam_folder):
    with pytest.raises(UserError, match="none: the tokenizer does not load"):
        run_script(xlam, tmp_path, xlam_folder / "in.json", tokenizer=tmp_path / "none")
