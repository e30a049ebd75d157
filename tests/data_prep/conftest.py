"""Small sources that the tests of several scripts share, and the scripts' files made of them."""

import json

import pytest

from data_prep import toolace, xlam


def weather_query(number):
    """Return a row of xLAM: each asks for another city, with a tool that answers and one that does not."""
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
    """Return a ToolACE conversation of three call steps."""
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
