"""API-Bank: reading both forms of its data, and its rules for a call, corner by corner."""

import json
import shutil
from collections import Counter

import pytest
from oracle import judge_all, messages, say, say_damaged, say_prose

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
    # What an API only looks up, or does not look at.
    ("ModifyAgenda", "content", STR, "meeting with John", "with John meeting", False),
    ("DeleteAgenda", "content", STR, "call the bank", "anything", False),
    ("DeleteAgenda", "location", STR, "bank", ["anything"], True),
    ("DeleteReminder", "content", STR, "call the bank", "anything", True),
    ("DeleteReminder", "content", STR, "call the bank", " ", False),
    ("QueryBalance", "token", STR, "a1b2", "a1b2 ", False),
    # Case and white space around.
    ("QueryStock", "stock_code", STR, "AAPL", "aapl", True),
    ("ModifyRegistration", "new_appointment_doctor", STR, "Dr. Lee", " Dr. Lee", True),
    ("Dictionary", "keyword", STR, "computer science", "Computer_Science", True),
    ("Calculator", "formula", STR, "(5+6)*3", "(5 + 6) * 3", True),
    ("Calculator", "formula", STR, "(5+6)*3", "3*(5+6)", False),
    ("SendEmail", "receiver", STR, "ann@example.com", " ann@EXAMPLE.com", True),
    ("SendEmail", "receiver", STR, "ann@example.com", "Ann@example.com", False),
    ("Translate", "tgt_lang", STR, "fr", "French", True),
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
    # The benchmark compares no health data; they must only be records with different names.
    ("RecordHealthData", "health_data", "list", RECORDS, [{"name": "other", "value": 8}], True),
    ("RecordHealthData", "health_data", "list", RECORDS, [{"name": "r", "value": 8}, {"name": "r", "value": 7}], False),
    ("RecordHealthData", "health_data", "list", RECORDS, [{"name": "r"}], False),
    ("RecordHealthData", "health_data", "list", RECORDS, [], False),
    ("RecordHealthData", "health_data", "list", RECORDS, [1, "x", None, {"name": [], "value": 1}], False),
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
        assert messages(case)[0]["content"].startswith(CONTEXT)
        assert messages(case)[-1]["role"] in ("user", "tool")
        assert not any("Generate API Request:" in message["content"] for message in messages(case))


def test_the_ground_truth_is_right_unless_the_benchmark_refuses_it(benchmark):
    wrong = {name for name, mistake in judge_all(benchmark, say).items() if mistake}
    refused = Counter(case.ground_truth[0]["name"] for case in benchmark.cases if case.id in wrong)
    undone = {"ForgotPassword": 4, "GetUserToken": 2, "RegisterUser": 1, "QueryRegistration": 1}
    undeclared = {"TimedSwitch": 3, "CancelTimedSwitch": 5}  # the data say device_id, the tools name
    assert refused == {"QueryScene": 5, "DeleteMeeting": 1, **undone, **undeclared}
    impossible = benchmark.impossible()
    assert impossible.keys() == wrong
    assert Counter(impossible.values())['"device_id" is not declared'] == 8
    for respond in (say_damaged, say_prose):
        assert all(judge_all(benchmark, respond).values())


def test_the_first_call_counts(benchmark):
    case, *_, other = benchmark.cases
    for calls, kind in (
        (case.ground_truth + other.ground_truth, None),
        (other.ground_truth + case.ground_truth, WRONG_TOOL),
        ([], WRONG_TOOL),
        (None, FORMAT),
    ):
        mistake = benchmark.judge_all({case.id: Reading("", calls)})[case.id]
        assert (mistake and mistake.kind) == kind


# A folder in the benchmark's layout. Like the benchmark's, its AddAgenda takes any token that the database has and does
# not compare it. Search needs a package.
OFFICIAL = {
    "tool_manager.py": """
import importlib, json, pathlib
class ToolManager:
    def __init__(self):
        classes = [getattr(importlib.import_module(f"apis.{name.lower()}"), name) for name in NAMES]
        self.init_databases = {"Account": json.loads(pathlib.Path("init_database/Account.json").read_text())}
        self.apis = [{"name": c.__name__, "class": c, "input_parameters": c.input_parameters} for c in classes]
    def get_api_by_name(self, name):
        return next(api for api in self.apis if api["name"] == name)
    def init_tool(self, name):
        tool = self.get_api_by_name(name)["class"]()
        tool.database = self.get_api_by_name(name)["init_database"]
        return tool
    def api_call(self, name, **arguments):
        return {"input": arguments, "output": self.init_tool(name).call(**arguments)}
NAMES = ("CheckToken", "AddAgenda", "Search")
""",
    "apis/checktoken.py": """
class CheckToken:
    input_parameters, database_name = {"token": {"type": "str"}}, "Account"
""",
    "apis/addagenda.py": """
import socket
class AddAgenda:
    input_parameters = {"token": {"type": "str"}, "content": {"type": "str"}, "guests": {"type": "list(str)"}}
    database_name = "Account"
    def call(self, token, content, guests):
        if content == "online":
            socket.create_connection(("127.0.0.1", 9))
        return "success" if self.database.pop(token, None) else None
    def check_api_call_correctness(self, response, ground_truth):
        for one in (response, ground_truth):
            one["input"].pop("token")
        return response == ground_truth
""",
    "apis/search.py": """
from some_package.client import Client
class Search:
    input_parameters = {"keyword": {"type": "str"}}
    client = Client()
""",
    "init_database/Account.json": '{"t1": "Ann", "t2": "Bob"}',
}


def official_turn(name, **arguments):
    result = {"input": {**arguments, "guests": ["Cy"]}, "output": "success"}
    return {"role": "API", "api_name": name, "param_dict": arguments, "result": result}


@pytest.mark.parametrize(
    "index, arguments, right",
    [
        (0, {}, True),
        (0, {"guests": ["Cy"]}, True),
        (0, {"guests": ["Di"]}, False),
        (0, {"token": "t2"}, True),  # our rules compare the token
        (0, {"token": "t3"}, False),
        (0, {"content": 5}, False),
        (0, {"tone": "kind"}, False),
        (0, {"content": "online"}, False),
        (1, {}, True),  # by our rules: the API cannot run
        (1, {"keyword": "other"}, False),
    ],
)
def test_the_benchmarks_own_code_decides_if_it_is_there(official, index, arguments, right):
    assert official.version == "dialogues, the benchmark's own code"
    case = official.cases[index]
    [call] = case.ground_truth
    changed = {"name": call["name"], "arguments": {**call["arguments"], **arguments}}
    for _ in range(2):  # the database is reset for each call
        assert (official.judge_all({case.id: Reading("", [changed])})[case.id] is None) == right


@pytest.fixture(scope="module")
def official(tmp_path_factory):
    folder = tmp_path_factory.mktemp("api-bank")
    turns = [
        official_turn("AddAgenda", token="t1", content="lunch", guests="['Cy']"),
        official_turn("Search", keyword="k"),
    ]
    write_dialogue(folder, turns)
    for path, text in OFFICIAL.items():
        (folder / path).parent.mkdir(exist_ok=True)
        (folder / path).write_text(text)
    (folder / "apibank_l1.json").write_text("[]")  # the benchmark's own code is preferred
    return ApiBank(folder, log=folder / "log")


def test_a_folder_whose_code_fails_is_named(official, tmp_path):
    folder = tmp_path / "api-bank"
    shutil.copytree(official._root, folder)
    (folder / "tool_manager.py").write_text("raise SystemExit('old version')")
    with pytest.raises(UserError, match=r"fails: old version .*give the whole folder api-bank"):
        ApiBank(folder, log=tmp_path / "log").impossible()


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
    assert [(message["role"], message["content"]) for message in messages(first)[1:]] == [
        ("user", "Token, please: Ann, pw"),
        ("assistant", "Of course."),
        ("user", REQUEST),
    ]
    assert [(message["role"], message["content"]) for message in messages(second)[2:]] == [
        ("assistant", f"Of course.\n{call}"),
        ("tool", '{"token": "t"}'),
    ]
    assert '"name": "GetUserToken"' in messages(first)[0]["content"]


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
