"""BFCL's official evaluator and executor, in its own environment, on responses of our format."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from fake_endpoint import FakeEndpoint, completion
from oracle import FORM, judge_all, say, say_damaged, say_prose

from tooln1.cli import main
from tooln1.errors import UserError
from tooln1.eval.benchmark import MISTAKES, OUTCOME, WRONG_TOOL, Reading
from tooln1.eval.bfcl import CATEGORIES, MULTI_TURN, Bfcl, find_python
from tooln1.prompt import format_response

PAGE = Path(__file__).resolve().parents[2] / "docs" / "evaluation.md"


def cases_named(lines):
    return set(re.findall(r"`((?:simple|live)_\w*\d[\d-]*)`", "\n".join(lines)))


# The page lists the cases that no model can have right; those in a table have broken data, by the evaluator's reasons.
IMPOSSIBLE = cases_named(PAGE.read_text(encoding="utf-8").splitlines())
BROKEN = cases_named(line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("|"))


@pytest.fixture(scope="module")
def python():
    try:
        return find_python()
    except UserError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def benchmark(python, tmp_path_factory):
    return Bfcl(python, tmp_path_factory.mktemp("bfcl"))


@pytest.fixture(scope="module")
def multi_turn(python, tmp_path_factory):
    return Bfcl(python, tmp_path_factory.mktemp("bfcl"), ["bfcl_multi_turn"])


@pytest.mark.parametrize("respond", [say, say_damaged, say_prose])
def test_all_cases(benchmark, respond):
    mistakes = judge_all(benchmark, respond)
    right = {name for name, mistake in mistakes.items() if mistake is None}
    assert {mistake.kind for mistake in mistakes.values() if mistake} <= MISTAKES.keys()
    irrelevant = {case.id for case in benchmark.cases if "irrelevance" in case.category}
    relevant = {case.id for case in benchmark.cases if case.category == "live_relevance"}
    # A damaged call is still a call, and no call is damaged where none is wanted.
    expected = {say: mistakes.keys() - BROKEN, say_damaged: irrelevant | relevant, say_prose: irrelevant}
    assert right == expected[respond]


def test_calls_of_any_size_get_a_verdict(benchmark):
    case = next(case for case in benchmark.cases if case.id == "simple_python_100")
    calls = [{"name": "f" * 100_000, "arguments": {"\n": "x" * 100_000}}]
    assert benchmark.judge(case, Reading("", calls)).kind == WRONG_TOOL


def test_only_the_documented_cases_are_impossible(benchmark):
    impossible = benchmark.impossible()
    assert impossible.keys() == IMPOSSIBLE
    assert all(impossible.values())


def test_groups_are_the_leaderboards(benchmark):
    categories = {name: {"accuracy": 1.0} for name in CATEGORIES}
    assert set(benchmark.groups(categories).values()) == {1.0}
    groups = benchmark.groups({**categories, "simple_java": {"accuracy": 0.4}, "live_simple": {"accuracy": 0.5}})
    assert groups["simple"] == pytest.approx(0.8)
    assert groups["non_live"] == pytest.approx((0.8 + 3) / 4)
    assert groups["live"] == pytest.approx((258 * 0.5 + 1053 + 16 + 24) / 1351)
    assert groups["accuracy"] == pytest.approx((groups["non_live"] + groups["live"]) / 2)
    assert benchmark.groups({**categories, "multiple": {"accuracy": None}})["accuracy"] is None


@pytest.mark.parametrize("respond, right", [(say, 800), (say_damaged, 0), (say_prose, 0)])
def test_all_cases_of_several_turns(multi_turn, respond, right):
    mistakes = judge_all(multi_turn, respond)
    assert list(mistakes.values()).count(None) == right
    assert {one.kind for one in mistakes.values() if one} <= {OUTCOME, WRONG_TOOL}
    if respond is say:
        assert multi_turn.impossible() == {}


@pytest.fixture(scope="module")
def by_id(multi_turn):
    return {case.id: case for case in multi_turn.cases}


def call(name, **arguments):
    return Reading("said", [{"name": name, "arguments": arguments}])


TALK = Reading("<think>so</think> Done.", None, "no calls")


def test_a_conversation_goes_on_after_calls_and_turns_after_a_response_without(multi_turn, by_id):
    case = by_id["multi_turn_base_0"]
    first, second = (turn["content"] for turn in case.data["turns"][:2])
    cd = call("cd", folder="document")
    assert multi_turn.next_turns(case, []) == [{"role": "user", "content": first}]
    told = [
        {"role": "user", "content": first},
        {"role": "assistant", "calls": cd.calls},
        {"role": "tool", "content": '{"current_working_directory": "document"}'},
    ]
    assert multi_turn.next_turns(case, [cd]) == told
    ended = [*told, {"role": "assistant", "content": "Done."}, {"role": "user", "content": second}]
    assert multi_turn.next_turns(case, [cd, TALK]) == ended
    assert multi_turn.next_turns(case, [cd, Reading("", [])])[:3] == told
    assert multi_turn.next_turns(case, [TALK] * len(case.data["turns"])) is None


def test_held_out_tools_arrive_as_the_package_announces_them(multi_turn, by_id):
    case = by_id["multi_turn_miss_func_0"]
    *_, turn = multi_turn.next_turns(case, [TALK] * 3)
    assert [tool["name"] for tool in turn["tools"]] == ["sort"]
    request = FORM.request(case, multi_turn.next_turns(case, [TALK] * 3))
    assert '"name": "sort"' not in request["messages"][0]["content"]
    line, announcement = request["messages"][-1]["content"].splitlines()
    assert json.loads(line)["name"] == "sort" and announcement.startswith("I have updated some more functions")


def test_too_many_steps_end_the_conversation(multi_turn, by_id):
    case, step = by_id["multi_turn_base_0"], call("pwd")
    assert multi_turn.next_turns(case, [step] * 20)[-1]["role"] == "tool"
    assert multi_turn.next_turns(case, [step] * 20 + [TALK])[-1]["role"] == "user"
    assert multi_turn.next_turns(case, [step] * 21) is None
    *earlier, last = [step] * 21
    mistake = multi_turn.judge(case, Reading(last.response, last.calls, earlier=tuple(earlier)))
    assert mistake.kind == OUTCOME and "force-terminated" in mistake.detail


@pytest.mark.parametrize(
    "name, arguments",
    [
        ("open", {"file": "MARK", "mode": "w"}),
        ("__import__('pathlib').Path('MARK').touch", {}),
        ("ls", {"a=open('MARK', 'w'), b": True}),
        ("ls", {"a": "\" + open('MARK', 'w') + \""}),
        ("power", {"base": 9, "exponent": 10**9}),
        ("power", {"base": 10**400, "exponent": 10**400}),
    ],
)
def test_a_call_runs_nothing_but_tools(multi_turn, by_id, tmp_path, name, arguments):
    case = next(case for case in by_id.values() if {"ls", "power"} <= {tool["name"] for tool in case.tools})
    mark = tmp_path / "mark"
    arguments = {key.replace("MARK", str(mark)): _marked(value, mark) for key, value in arguments.items()}
    *_, result = multi_turn.next_turns(case, [call(name.replace("MARK", str(mark)), **arguments)])
    assert result["role"] == "tool" and not mark.exists()
    assert "rror" in result["content"] or name == "ls"


def _marked(value, mark):
    return value.replace("MARK", str(mark)) if isinstance(value, str) else value


def test_the_leaderboards_overall_is_marked_partial(multi_turn):
    categories = {name: {"accuracy": 1.0} for name in (*CATEGORIES, *MULTI_TURN)}
    benchmark = Bfcl.__new__(Bfcl)
    benchmark.cases = multi_turn.cases  # none of "live", which is weighted by cases
    groups = benchmark.groups({**categories, "multi_turn_base": {"accuracy": 0.2}, "irrelevance": {"accuracy": 0.5}})
    assert (groups["multi_turn"], groups["irrelevance"]) == pytest.approx((0.8, 0.75))
    assert groups["web_search"] is None and groups["memory"] is None
    assert groups["v4_overall_partial"] is None


class Conversations(FakeEndpoint):
    """Answers every turn with the ground truth's calls, then with a text; counts the requests by their messages."""

    def __init__(self, cases):
        self.cases, self.native = cases, False
        super().__init__()

    def respond(self, path, body):
        if path == "/v1/models":
            return 200, {"data": [{"id": "oracle"}]}
        if path != "/v1/chat/completions":
            return 404, {"error": {"message": "no such address"}}
        time.sleep(0.02)
        messages = body["messages"]
        asked = [message["content"] for message in messages if message["role"] == "user"]
        case = next(case for case in self.cases if self.knows(case, asked, body))
        calls = case.ground_truth[len(asked) - 1] if messages[-1]["role"] == "user" else []
        return self.counted(json.dumps(messages), lambda times: (200, completion(message=self.message(calls))))

    def knows(self, case, asked, body):
        told = [turn["content"] for turn in case.data["turns"]]
        tools = len(case.tools) + sum(len(turn.get("tools", ())) for turn in case.data["turns"][: len(asked)])
        same = "tools" not in body or len(body["tools"]) == tools
        return same and all(text.endswith(turn) for text, turn in zip(asked, told, strict=False))

    def message(self, calls):
        if not self.native:
            return {"content": format_response(calls, "so") if calls else "Done."}
        functions = [{"name": one["name"], "arguments": json.dumps(one["arguments"])} for one in calls]
        return {"content": "Done." if not calls else None, "tool_calls": [{"function": one} for one in functions]}


@pytest.mark.slow
@pytest.mark.parametrize("interface", ["chat", "tools"])
def test_a_killed_evaluation_asks_no_step_twice(multi_turn, tmp_path, interface):
    limit = 4
    cases = [case for name in MULTI_TURN for case in multi_turn.cases if case.category == name]
    with Conversations(cases) as oracle:
        oracle.native = interface == "tools"
        arguments = ["eval", oracle.url, "--bench", "bfcl_multi_turn", "--interface", interface, "--limit", str(limit)]
        arguments += ["--output", str(tmp_path), "--concurrency", "2"]
        process = subprocess.Popen([sys.executable, "-m", "tooln1.cli", *arguments], env=os.environ)
        while oracle.asked.total() < 40:
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
        time.sleep(0.1)  # what was on its way
        logged = (tmp_path / "responses.jsonl").read_text().count('"response"')
        before = oracle.asked.total()
        main(arguments)
        # The cases of base and long_context share their prompts, so that a prompt may be asked twice.
        lines = (tmp_path / "responses.jsonl").read_text().count('"response"')
        assert oracle.asked.total() - before == lines - logged
    rows = [json.loads(line) for line in (tmp_path / "results.jsonl").read_text().splitlines()]
    assert [row["correct"] for row in rows] == [True] * 4 * limit
    assert all(row["transcript"][0]["role"] == "user" for row in rows)


PYTHON_CALL = "[math.gcd(num1=40, num2=50)]"
XML_CALL = (
    '<functions><function name="math.gcd"><param name="num1" type="integer">40</param>'
    '<param name="num2" type="integer">50</param></function></functions>'
)


@pytest.mark.slow
def test_format_sensitivity_asks_and_reads_in_the_packages_own_formats(python, tmp_path):
    benchmark = Bfcl(python, tmp_path, ["bfcl_format_sensitivity"])
    assert len(benchmark.cases) == 5200 and len({case.category for case in benchmark.cases}) == 26
    cases = {case.category: case for case in benchmark.cases if case.id.endswith(":simple_python_19")}
    readings = {}
    for category, case in cases.items():
        calls = XML_CALL if "ret_fmt=concise_xml" in category else PYTHON_CALL
        response = f"<think>[f()]</think>{calls}"
        if "tool_call_tag=True" in category:
            assert "<TOOLCALL>" in FORM.request(case, case.turns)["messages"][0]["content"]
            response = f"<think>so</think><TOOLCALL>{calls}</TOOLCALL>"
        readings[case.id] = FORM.read(case, {"response": response})
    right = {name for name, mistake in benchmark.judge_all(readings).items() if mistake is None}
    assert right == {name for name in readings if "ret_fmt=python" in name or "concise_xml" in name}
    assert all(benchmark.judge_all({name: FORM.read(case, {"response": "No."}) for name in readings}).values())
    accuracy = {category: {"accuracy": float("tag=True" in category)} for category in cases}
    groups = benchmark.groups(accuracy)
    assert groups["format_max_delta"] == 1.0 and 0 < groups["format_sensitivity"] < 1 and groups["accuracy"] is None
