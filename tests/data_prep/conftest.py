"""What the tests of several scripts share: small sources, and a tokenizer with a chat template like Qwen2.5's."""

import json
from pathlib import Path

import pytest

from data_prep import toolace, xlam

SHARED = Path(__file__).parents[3] / "shared" / "data"

# As in Qwen2.5: a tool's result stands in a user turn.
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


def weather_query(number):
    """A row of xLAM: each asks for another city, with a tool that answers and one that does not."""
    tools = [
        {
            "name": "get_weather",
            "description": "Weather of a city.",
            "parameters": {"city": {"type": "str", "description": "name"}, "days": {"type": "int, optional"}},
        },
        {"name": f"other_{number}", "description": "Something else.", "parameters": {}},
    ]
    answers = [{"name": "get_weather", "arguments": {"city": f"City {number}", "days": number}}]
    query = f"What is the weather like in City {number} today?"
    return {"id": number, "query": query, "answers": json.dumps(answers), "tools": json.dumps(tools)}


def clock_conversation(number):
    """A ToolACE conversation of three call steps."""
    tools = [
        {
            "name": "Set Clock (v2)",
            "description": "Sets it.",
            "parameters": {"type": "dict", "properties": {"time": {"type": "string"}}, "required": ["time"]},
            "required": None,
        },
        {"name": "Stop", "description": "Stops it.", "parameters": {"type": "dict", "properties": {}}},
    ]
    turns = []
    for step in range(3):
        result = json.dumps([{"name": "Set Clock (v2)", "results": step}])
        turns += [
            {"from": "user", "value": f"Please set clock {number} to {step} o'clock."},
            {"from": "assistant", "value": f'[Set Clock (v2)(time="{step}:00 (clock {number})")]'},
            {"from": "tool", "value": result},
            {"from": "assistant", "value": "Done."},
        ]
    return {"system": f"It is day {number}.\n{json.dumps(tools)}", "conversations": turns}


@pytest.fixture(scope="session")
def xlam_folder(tmp_path_factory):
    """Forty prepared rows of xLAM."""
    folder = tmp_path_factory.mktemp("xlam")
    (folder / "in.json").write_text(json.dumps([weather_query(number) for number in range(40)]))
    xlam.main(["--input", str(folder / "in.json"), "--output", str(folder), "--workers", "1"])
    return folder


@pytest.fixture(scope="session")
def toolace_folder(tmp_path_factory):
    """Ten prepared conversations of ToolACE, thirty rows."""
    folder = tmp_path_factory.mktemp("toolace")
    (folder / "in.json").write_text(json.dumps([clock_conversation(number) for number in range(10)]))
    toolace.main(["--input", str(folder / "in.json"), "--output", str(folder), "--workers", "1"])
    return folder
