"""ACEBench: reading its data, and its rules, corner by corner."""

import json

import pytest
from oracle import judge_all, messages, say, say_damaged, say_prose

from tooln1.errors import UserError
from tooln1.eval.acebench import KINDS, AceBench, judge_calls
from tooln1.eval.benchmark import EXTRA, MISSING, TYPE, VALUE, WRONG_TOOL
from tooln1.eval.form import read_response

STRINGS = {"type": "array", "items": {"type": "string"}}
OBJECTS = {"type": "array", "items": {"type": "object"}}


# (declared, ground truth, value, the kind of mistake or "")
VALUES = [
    # A text is right if it contains the ground truth's, in any case, with or without spaces and , . / - _ * ^.
    ("string", "Los Angeles", "los-angeles, California", ""),
    ("string", "Los Angeles, California", "Los Angeles", VALUE),
    ("string", "it's", 'it"s', ""),
    ("string", "a;b", "ab", VALUE),  # no other punctuation is free
    ("string", "5", 5, TYPE),
    ("string", "true", "true", TYPE),  # the checker reads the text as a boolean
    # Whole numbers, decimal ones and booleans are not compared at all, only their types.
    ("integer", 5, 6, ""),
    ("integer", 5, "5", TYPE),
    ("integer", 5, 5.0, ""),  # 5 == 5.0
    ("integer", 5, True, TYPE),
    ("number", 5.5, 5, ""),  # a declared number is an integer
    ("float", 5.5, 5, ""),
    ("boolean", True, False, ""),
    ("boolean", True, "yes", TYPE),
    # If the ground truth has another type than declared, its type is enough.
    ("string", 5, "x", ""),
    # Lists of texts: standardised one by one, order and number count.
    (STRINGS, ["Red wine", "Beer"], ["red-wine", "beer"], ""),
    (STRINGS, ["Red wine", "Beer"], ["Beer", "Red wine"], VALUE),
    (STRINGS, ["Red wine", "Beer"], ["Red wine"], VALUE),
    (STRINGS, ["wine"], ["red wine"], VALUE),  # no containment here
    (STRINGS, ["wine"], "wine", TYPE),
    (STRINGS, [], ["anything"], TYPE),  # the checker takes no list for an empty one, not even that
    (STRINGS, [], [], TYPE),
    ("object", {}, {}, TYPE),
    (STRINGS, ["5"], [5], VALUE),  # the items' type is not compared
    # Objects: the same keys; inside, everything is compared as text, by containment.
    ("object", {"city": "Paris", "n": 5}, {"n": 5, "city": "paris, France"}, ""),
    ("object", {"n": 5}, {"n": 50}, ""),
    ("object", {"n": 5}, {"n": 6}, VALUE),
    ("object", {"on": True}, {"on": "true"}, ""),
    ("object", {"on": True}, {"on": False}, VALUE),
    ("object", {"n": 5}, {"n": 5, "m": 6}, VALUE),
    ("object", {"n": 5}, [5], TYPE),
    ("object", {"in": {"city": "Paris"}}, {"in": "Paris"}, VALUE),
    ("object", {"list": ["time savings", "x"]}, {"list": ["Time savings", "x"]}, VALUE),  # lists inside: as written
    # Lists of objects: one by one in order.
    (OBJECTS, [{"n": 1}, {"n": 2}], [{"n": 2}, {"n": 1}], VALUE),
    (OBJECTS, [{"n": 1}], [1], VALUE),
    # Anything that a model writes gets a verdict.
    ("string", "a", None, TYPE),
    ("enum", "a", "b", ""),  # a type that the checker knows nothing to compare for
]


def kind_of(mistake):
    return mistake.kind if mistake else ""


@pytest.mark.parametrize("declared, expected, value, error", VALUES)
def test_values(declared, expected, value, error):
    schema = declared if isinstance(declared, dict) else {"type": declared}
    tool = {"name": "f", "parameters": {"properties": {"a": schema}}}
    assert kind_of(judge_calls([{"name": "f", "arguments": {"a": value}}], {"f": {"a": expected}}, [tool])) == error


TOOLS = [
    {
        "name": "book",
        "parameters": {"properties": {"city": {"type": "string"}, "note": {"type": "string"}}, "required": ["city"]},
    },
    {"name": "now", "parameters": {}},
    {"name": "reset", "parameters": {"properties": {}}},
]
PARIS, ROME = ({"name": "book", "arguments": {"city": city}} for city in ("Paris", "Rome"))
NOW = {"name": "now", "arguments": {}}


@pytest.mark.parametrize(
    "calls, answer, error",
    [
        # The order of parallel calls is free; a tool called twice is numbered in the answer.
        ([ROME, PARIS], {"book_1": {"city": "Paris"}, "book_2": {"city": "Rome"}}, ""),
        ([NOW, PARIS], {"book": {"city": "Paris"}, "now": {}}, ""),
        ([PARIS, PARIS], {"book_1": {"city": "Paris"}, "book_2": {"city": "Rome"}}, VALUE),
        # Calls are not paired one to one: one call may answer for two expected ones.
        ([ROME, PARIS], {"book_1": {"city": "Rome"}, "book_2": {"city": "Rome"}}, ""),
        ([PARIS], {"book_1": {"city": "Paris"}, "book_2": {"city": "Rome"}}, WRONG_TOOL),
        ([NOW], {"book": {"city": "Paris"}}, WRONG_TOOL),
        # Optional arguments may be left out; arguments that the ground truth lacks may not be given.
        ([PARIS], {"book": {"city": "Paris", "note": "by train"}}, ""),
        ([{"name": "book", "arguments": {"city": "Paris", "note": "x"}}], {"book": {"city": "Paris"}}, EXTRA),
        ([{"name": "book", "arguments": {"city": "Paris", "when": "x"}}], {"book": {"city": "Paris"}}, EXTRA),
        ([{"name": "book", "arguments": {"note": "x"}}], {"book": {"city": "Paris", "note": "x"}}, MISSING),
        ([{"name": "book", "arguments": {}}], {"book": {"city": "Paris"}}, MISSING),
        # Tools without parameters.
        ([NOW], {"now": {}}, ""),
        ([{"name": "now", "arguments": {"a": 1}}], {"now": {}}, EXTRA),
        ([{"name": "reset", "arguments": {"a": 1}}], {"reset": {}}, ""),  # nothing declared, nothing expected
    ],
)
def test_calls(calls, answer, error):
    assert kind_of(judge_calls(calls, answer, TOOLS)) == error


def test_the_samples_are_read_and_their_ground_truth_is_right(acebench):
    assert len(acebench.cases) == 500
    assert {case.category for case in acebench.cases} == {f"en_{kind}" for kind in KINDS}
    for case in acebench.cases:
        assert messages(case)[0]["content"].startswith(("The current time is", "You serve"))
        assert messages(case)[-1]["role"] == "user"
    assert acebench.impossible().keys() == {"en/normal_single_turn_parallel_function_42"}  # event_details is []
    for respond, right in ((say, 499), (say_damaged, 0), (say_prose, 0)):
        assert list(judge_all(acebench, respond).values()).count(None) == right


def test_the_headline_is_the_plain_mean_of_the_eight_english_categories():
    benchmark = AceBench.__new__(AceBench)
    accuracy = {f"en_{kind}": 1.0 for kind in KINDS} | {"en_atom_bool": 0.4, "en_single_turn_single_function": 0.5}
    categories = {name: {"accuracy": value} for name, value in accuracy.items()}
    groups = benchmark.groups(categories)
    assert groups == pytest.approx({"en_atom": 0.9, "en_single_turn": 0.75, "accuracy": (0.4 + 0.5 + 6) / 8})
    chinese = {f"zh_{kind}": {"accuracy": 0.5} for kind in KINDS}
    half = {"zh_atom": 0.5, "zh_single_turn": 0.5, "zh_normal": 0.5}
    assert benchmark.groups(categories | chinese) == {**groups, **half}
    assert benchmark.groups(chinese) == {**half, "accuracy": None}
    assert benchmark.groups({**categories, "en_atom_list": {"accuracy": None}})["accuracy"] is None
    # The benchmark's own table of English data has 90.0 for GPT-4o on atom, 78.0 on single_turn; the paper has 87.00.
    gpt_4o = {f"en_{kind}": {"accuracy": 0.9 if group == "atom" else 0.78} for kind, group in KINDS.items()}
    assert benchmark.groups(gpt_4o)["accuracy"] == pytest.approx(0.87)


def write(folder, language, question, answer):
    for kind in KINDS:
        base = folder / f"data_{language}"
        (base / "possible_answer").mkdir(parents=True, exist_ok=True)
        name = f"data_normal_{kind}.json"
        (base / name).write_text(json.dumps({"id": f"{kind}_0", **question}, ensure_ascii=False) + "\n")
        (base / "possible_answer" / name).write_text(json.dumps({"id": f"{kind}_0", **answer}, ensure_ascii=False))


QUESTION = {
    "question": 'user: 巴黎的天气\nsystem: [weather(city="巴黎")]\nuser: 罗马: 呢？\n好的\nsystem: 哪天?\nuser: 今天\n',
    "function": [
        {"name": "weather", "parameters": {"properties": {"city": {"type": "string"}}, "required": ["city"]}},
        {"name": "other", "arguments": {"type": "object", "properties": {"x": {"type": "string"}}}},
    ],
    "time": "今天是2024年11月14日，星期四。",
}


def test_chinese_cases_and_several_answers(tmp_path):
    write(tmp_path, "zh", QUESTION, {"ground_truth": [{"weather": {"city": "罗马"}}, {"weather": {"city": "Rome"}}]})
    benchmark = AceBench(tmp_path)
    case = benchmark.cases[0]
    assert (case.id, case.category) == ("zh/atom_bool_0", "zh_atom_bool")
    assert messages(case)[0]["content"].startswith("今天是2024年11月14日，星期四。")
    assert [(message["role"], message["content"]) for message in messages(case)[1:]] == [
        ("user", "巴黎的天气"),
        ("assistant", '<tool_call>[{"name": "weather", "arguments": {"city": "巴黎"}}]</tool_call>'),
        ("user", "罗马: 呢？\n好的"),
        ("assistant", "哪天?"),
        ("user", "今天"),
    ]
    assert '"parameters": {"type": "object", "properties": {"x"' in messages(case)[0]["content"]
    for city, kind in {"罗马": "", "rome": "", "Oslo": VALUE}.items():
        response = f'<think>t</think><tool_call>[{{"name": "weather", "arguments": {{"city": "{city}"}}}}]</tool_call>'
        assert kind_of(benchmark.judge(case, read_response(response))) == kind


@pytest.mark.parametrize(
    "question, answer, message",
    [
        (QUESTION, {"ground_truth": "x"}, "line 1: id 'atom_bool_0' has no ground_truth object"),
        ({**QUESTION, "question": "Hello"}, {"ground_truth": {}}, 'does not start with "user: "'),
        ({"question": "user: x"}, {"ground_truth": {}}, "line 1: not a question with its tools .*'function'"),
    ],
)
def test_broken_or_missing_data_are_named(tmp_path, question, answer, message):
    with pytest.raises(UserError, match="no data_en or data_zh"):
        AceBench(tmp_path)
    write(tmp_path, "en", question, answer)
    with pytest.raises(UserError, match=message):
        AceBench(tmp_path)
