"""API-Bank: reading both forms of its data, and its rules for a call, corner by corner."""

import json

import pytest
from oracle import judge_all, say, say_damaged, say_prose

from tooln1.errors import UserError
from tooln1.eval.api_bank import CONTEXT, REQUEST, ApiBank
from tooln1.eval.api_bank_rules import judge_call
from tooln1.eval.benchmark import EXTRA, FORMAT, MISSING, TYPE, VALUE, WRONG_TOOL, Reading

STR, INT, BOOL, LIST = "str", "int", "bool", "list(str)"
TIME = "2023-03-26 14:00:00"
RECORDS = "[{'name': 'w', 'value': '7'}, {'name': 'r', 'value': '8'}]"

# (tool, argument, declared type, the ground truth's value, value, right?)
VALUES = [
    ("GetUserToken", "password", STR, "secret", "Secret", False),
    # Numbers as text and text as numbers: the benchmark reads every value as text.
    ("OpenBankAccount", "account", STR, "123456", 123456, True),
    ("BookHotel", "room_count", INT, "2", "02", True),
    ("BookHotel", "room_count", INT, "2", "two", False),
    # Only "True" is true.
    ("TimedSwitch", "on", BOOL, "True", True, True),
    ("TimedSwitch", "on", BOOL, "True", "true", False),
    # More than half of the words in common, in any order; the case counts for agendas and meetings, not for reminders.
    ("AddAgenda", "content", STR, "meeting with John", "with John meeting today", True),
    ("AddAgenda", "content", STR, "meeting with John", "Meeting With John", False),
    ("AddReminder", "content", STR, "meeting with John", "Meeting With john", True),
    ("AddReminder", "content", STR, "call bank", "call her bank soon", False),  # exactly half
    ("DeleteReminder", "content", STR, "call the bank", "anything", True),
    # Case and white space around.
    ("QueryStock", "stock_code", STR, "AAPL", "aapl", True),
    ("ModifyRegistration", "new_appointment_doctor", STR, "Dr. Lee", " Dr. Lee", True),
    ("Dictionary", "keyword", STR, "computer science", "Computer_Science", True),
    ("Calculator", "formula", STR, "(5+6)*3", "(5 + 6) * 3", True),
    ("Calculator", "formula", STR, "(5+6)*3", "3*(5+6)", False),
    # Dates: compared as dates where the API reads them, as text where it does not.
    ("QueryStock", "date", STR, "2023-03-05", "2023-3-5", True),
    ("QueryStock", "date", STR, "2023-03-05", "March 5, 2023", False),
    ("QueryHealthData", "start_time", STR, TIME, " 2023-3-26 14:00:00", True),
    ("QueryHealthData", "start_time", STR, TIME, "2023-03-26", False),
    ("QueryHistoryToday", "date", STR, "03-05", "2023-03-05", True),
    ("AddAlarm", "time", STR, TIME, "2023-3-26 14:00:00", False),
    # Lists, in Python's notation as in the data or as JSON.
    ("AddMeeting", "attendees", LIST, "['John', 'Jane']", ["John", "Jane"], True),
    ("AddMeeting", "attendees", LIST, "['John', 'Jane']", ["Jane", "John"], False),
    ("AddMeeting", "attendees", LIST, "['John', 'Jane']", "John, Jane", False),
    ("RecordHealthData", "health_data", "list", RECORDS, [{"name": "r", "value": 8}, {"name": "w", "value": 7}], True),
    ("RecordHealthData", "health_data", "list", RECORDS, [1, "x", None], False),
    # Anything that a model writes gets a verdict.
    ("GetUserToken", "password", STR, "secret", None, False),
    ("GetUserToken", "password", STR, "secret", {"a": ["b"]}, False),
    ("QueryStock", "date", STR, "2023-03-05", "-" * 10_000, False),
    ("AddMeeting", "attendees", LIST, "['John']", "[" * 100_000, False),
]


@pytest.mark.parametrize("tool, argument, kind, expected, value, right", VALUES)
def test_values(tool, argument, kind, expected, value, right):
    ground_truth, call = ({"name": tool, "arguments": {argument: one}} for one in (expected, value))
    mistake = judge_call(call, ground_truth, {argument: {"type": kind}})
    assert (mistake is None) == right
    assert right or mistake.kind in (VALUE, TYPE)


TRANSLATE = {"name": "Translate", "arguments": {"src": "hello", "tgt_lang": "French"}}
TRANSLATE_DECLARED = dict.fromkeys(("src", "src_lang", "tgt_lang"), {"type": STR})


@pytest.mark.parametrize(
    "call, error",
    [
        ({"name": "Translate", "arguments": {"tgt_lang": "french", "src": "hello"}}, ""),
        ({"name": "Translate", "arguments": {"src": "hello", "tgt_lang": "French", "src_lang": "English"}}, ""),
        ({"name": "translate", "arguments": TRANSLATE["arguments"]}, WRONG_TOOL),
        ({"name": "Translate", "arguments": {"src": "hello"}}, MISSING),
        ({"name": "Translate", "arguments": {"src": "hello", "tgt_lang": "French", "tone": "kind"}}, EXTRA),
        ({"name": "Translate", "arguments": {"src": "bye", "tgt_lang": "French"}}, VALUE),
        ({"name": "Translate", "arguments": {"src": ["hello"], "tgt_lang": "French"}}, TYPE),
    ],
)
def test_calls(call, error):
    mistake = judge_call(call, TRANSLATE, TRANSLATE_DECLARED)
    assert (mistake.kind if mistake else "") == error


@pytest.fixture(params=["function_calling", "dialogues"])
def benchmark(request, api_bank):
    return api_bank[request.param]


def test_every_case_of_the_samples_is_read(benchmark):
    assert len(benchmark.cases) == {"function_calling": 399, "dialogues": 389}[benchmark.version]
    for case in benchmark.cases:
        assert case.messages[0]["content"].startswith(CONTEXT)
        assert case.messages[-1]["role"] in ("user", "tool")
        assert not any("Generate API Request:" in message["content"] for message in case.messages)


def test_the_ground_truth_is_right_unless_the_tool_does_not_declare_its_arguments(benchmark):
    wrong = {name for name, mistake in judge_all(benchmark, say).items() if mistake}
    # The data say device_id, the tools name.
    switches = ("TimedSwitch", "CancelTimedSwitch")
    assert wrong == {case.id for case in benchmark.cases if case.ground_truth[0]["name"] in switches}
    assert benchmark.impossible() == dict.fromkeys(wrong, '"device_id" is not declared')
    for respond in (say_damaged, say_prose):
        assert all(judge_all(benchmark, respond).values())


def test_only_one_call_is_right(benchmark):
    case = benchmark.cases[0]
    for calls, kind in ((case.ground_truth * 2, WRONG_TOOL), ([], WRONG_TOOL), (None, FORMAT)):
        assert benchmark.judge_all({case.id: Reading("", calls)})[case.id].kind == kind


DIALOGUE = [
    {"role": "User", "text": "Token, please: Ann, pw"},
    {"role": "AI", "text": "Of course."},
    {
        "role": "API",
        "api_name": "GetUserToken",
        "param_dict": {"username": "Ann", "password": "pw"},
        "result": {"output": {"token": "t"}, "exception": None},
    },
    {"role": "AI", "text": "Here it is."},
]
SOURCE = """
class GetUserToken(API):
    description = 'Get a ' + name()
    input_parameters = {'username': {'type': 'str'}, 'password': {'type': 'str'}}
    raise SystemExit("never run")
"""


def write_dialogue(folder, lines):
    path = folder / "lv1-lv2-samples" / "level-1-given-desc" / "one.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines))


def test_a_dialogue_becomes_turns_and_its_tools_are_read_from_source_that_never_runs(tmp_path):
    write_dialogue(tmp_path, [*DIALOGUE[:3], DIALOGUE[2]])
    (tmp_path / "apis").mkdir()
    (tmp_path / "apis" / "get_user_token.py").write_text(SOURCE)
    first, second = ApiBank(tmp_path).cases
    call = '<tool_call>[{"name": "GetUserToken", "arguments": {"username": "Ann", "password": "pw"}}]</tool_call>'
    assert [(message["role"], message["content"]) for message in first.messages[1:]] == [
        ("user", "Token, please: Ann, pw"),
        ("assistant", "Of course."),
        ("user", REQUEST),
    ]
    assert [(message["role"], message["content"]) for message in second.messages[2:]] == [
        ("assistant", f"Of course.\n{call}"),
        ("tool", '{"token": "t"}'),
    ]
    assert '"name": "GetUserToken"' in first.messages[0]["content"]


@pytest.mark.parametrize(
    "lines, message",
    [
        (["{"], r"one\.jsonl: line 1: expected a JSON object"),
        ([{"role": "Nobody", "text": ""}], r"one\.jsonl: line 1: not a turn of a dialogue"),
        ([DIALOGUE[0], {**DIALOGUE[2], "api_name": "Other"}], r"one\.jsonl: Other is described nowhere"),
        ([{**DIALOGUE[2], "param_dict": None}], r"one\.jsonl: line 1: not a turn of a dialogue"),
    ],
)
def test_broken_dialogues_are_named(tmp_path, lines, message):
    write_dialogue(tmp_path, lines)
    (tmp_path / "apis").mkdir()
    (tmp_path / "apis" / "get_user_token.py").write_text(SOURCE)
    with pytest.raises(UserError, match=message):
        ApiBank(tmp_path)


@pytest.mark.parametrize(
    "content, message",
    [
        ("{}", "expected a JSON list"),
        ('[{"query": [], "tools": [], "answers": []}]', r"row 0: not a case of the function-calling form"),
    ],
)
def test_broken_or_missing_function_calling_files_are_named(tmp_path, content, message):
    with pytest.raises(UserError, match=r"no apibank_l1\.json or lv1-lv2-samples"):
        ApiBank(tmp_path)
    (tmp_path / "apibank_l1.json").write_text(content)
    with pytest.raises(UserError, match=f"apibank_l1.json.*{message}"):
        ApiBank(tmp_path)
