"""`tooln1 eval` and `tooln1 compare` from the command line, against a local endpoint."""

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from fake_endpoint import completion
from oracle import say, say_damaged, say_prose

from tooln1.cli import main
from tooln1.eval.acebench import AceBench
from tooln1.eval.benchmark import MISTAKES
from tooln1.eval.form import Form
from tooln1.eval.rows import Rows
from tooln1.eval.summary import published
from tooln1.prompt import split_system

pytest.importorskip("openai", reason="needs OpenAI's client")
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def oracle(oracle, api_bank, acebench):
    oracle.know(acebench)
    oracle.know(api_bank["function_calling"])
    return oracle


def evaluate(oracle, data, output, *options, bench="api_bank"):
    main(["eval", oracle.url, "--bench", bench, "--data", str(data), "--output", str(output), *options])
    return read(output)


def read(output):
    rows = [json.loads(line) for line in (output / "results.jsonl").read_text().splitlines()]
    return json.loads((output / "summary.json").read_text()), rows


def test_the_files_have_the_documented_fields(tmp_path, oracle, few, capsys):
    summary, rows = evaluate(oracle, few, tmp_path, "--limit", "2", bench="api_bank,acebench")
    assert summary.keys() == {"model", "created", "settings", "benchmarks", "published"}
    assert (summary["model"], summary["settings"]["limit"]) == ("oracle", 2)
    assert summary["published"] == published() and "Tool-N1-7B (paper)" in capsys.readouterr().out
    acebench = summary["benchmarks"]["acebench"]
    assert acebench["accuracy"] == 1.0 and acebench["errors"] == dict.fromkeys(MISTAKES, 0)
    interval = pytest.approx([0.3424, 1.0], abs=1e-4)
    category = {"accuracy": 1.0, "correct": 2, "scored": 2, "unanswered": 0, "interval": interval}
    assert acebench["categories"]["en_atom_bool"] == category
    assert len(rows) == 2 + 8 * 2 == len({(row["benchmark"], row["id"]) for row in rows})
    [row] = [row for row in rows if row["id"] == "apibank_l1/1"]
    response = row.pop("response")
    assert row.pop("calls") == row.pop("ground_truth") and response.startswith("<think>")
    assert row == {
        **{"benchmark": "api_bank", "id": "apibank_l1/1", "repeat": 0, "category": "level_1_call"},
        **{"correct": True, "error": "", "detail": "", "finish_reason": "stop"},
    }
    lines = [json.loads(line) for line in (tmp_path / "responses.jsonl").read_text().splitlines()]
    assert lines[0].keys() == {"settings"} and len(lines) == 1 + len(rows)


def test_mistakes_are_counted_and_shown(tmp_path, oracle, few):
    oracle.answer = lambda case: say_damaged(case) if case.id.startswith("apibank") else say_prose(case)
    summary, _ = evaluate(oracle, few, tmp_path, "--limit", "4", bench="api_bank,acebench")
    assert summary["benchmarks"]["acebench"]["errors"] == {**dict.fromkeys(MISTAKES, 0), "format": 32}
    assert summary["benchmarks"]["api_bank"]["errors"] == {**dict.fromkeys(MISTAKES, 0), "wrong_type": 4}
    page = (tmp_path / "summary.md").read_text()
    assert "### wrong_type" in page and "### format" in page
    assert re.search(r"- api_bank `apibank_l1/\d+`: \w+ is \{\"damaged\": true\} instead of", page)
    assert page.count("- acebench `") == 3


def test_unanswered_cases_are_in_no_figure_and_asked_by_the_next_run(tmp_path, oracle, few, capsys):
    oracle.answer = lambda case: (500, {}) if case.id == "apibank_l1/1" else say(case)
    with pytest.raises(SystemExit) as stopped:
        evaluate(oracle, few, tmp_path, "--limit", "3", "--retries", "0")
    assert stopped.value.code == 1
    assert "cases without a response, in no figure: 1;" in capsys.readouterr().err
    summary, rows = read(tmp_path)
    found = summary["benchmarks"]["api_bank"]
    assert (found["accuracy"], found["categories"]["level_1_call"]["unanswered"]) == (1.0, 1)
    assert [one["id"] for one in found["unanswered"]] == ["apibank_l1/1"]
    assert {(row["correct"], row["response"]) for row in rows if row["id"] == "apibank_l1/1"} == {(None, None)}
    oracle.answer = say
    asked = sum(oracle.asked.values())
    summary, _ = evaluate(oracle, few, tmp_path, "--limit", "3")
    assert not summary["benchmarks"]["api_bank"]["unanswered"]
    assert sum(oracle.asked.values()) == asked + 1


@pytest.mark.parametrize(
    "body, words",
    [
        (b"<html><h1>Gateway</h1>is busy</html>", "not a JSON object: Gateway is busy"),
        (completion(message={"content": "I"}, finish_reason="content_filter"), "content_filter"),
    ],
)
def test_what_is_no_response_ends_the_run_and_counts_nowhere(tmp_path, oracle, few, capsys, body, words):
    oracle.answer = lambda case: (200, body) if len(oracle.asked) > 5 else say(case)
    options = ("--limit", "30", "--retries", "0", "--concurrency", "1")
    with pytest.raises(SystemExit) as stopped:
        evaluate(oracle, few, tmp_path, *options)
    assert stopped.value.code == 2 and words in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["responses.jsonl"]
    oracle.answer, asked = say, oracle.asked.total()
    summary, _ = evaluate(oracle, few, tmp_path, *options)
    assert oracle.asked.total() - asked == 25
    assert summary["benchmarks"]["api_bank"]["categories"]["level_1_call"]["scored"] == 30


def test_a_message_in_parts_is_judged(tmp_path, oracle, few):
    parts = lambda text: [{"type": "text", "text": text[:20]}, {"type": "text", "text": text[20:]}]  # noqa: E731
    oracle.answer = lambda case: (200, completion(message={"content": parts(say(case))}))
    assert evaluate(oracle, few, tmp_path, "--limit", "3")[0]["benchmarks"]["api_bank"]["accuracy"] == 1.0


def test_rows_are_evaluated_with_their_responses(tmp_path, oracle, tiny_data):
    file = tiny_data / "test.parquet"
    rows = Rows(file)
    oracle.know(rows)
    oracle.answer = lambda case: say_damaged(case) if "integer" in case.category else say(case)
    summary, results = evaluate(oracle, file, tmp_path, "--limit", "2", bench="rows")
    kinds = {f"{row['data_source']}: {row['extra_info']['kind']}" for row in pq.read_table(file).to_pylist()}
    categories = summary["benchmarks"]["rows"]["categories"]
    assert categories.keys() == kinds
    assert {name for name, one in categories.items() if one["accuracy"] == 0} == {"toolcall/synthetic: integer"}
    assert summary["benchmarks"]["rows"]["accuracy"] == pytest.approx(1 - 1 / len(kinds))
    assert all(row["response"].startswith("<think>") for row in results)


def test_a_folder_of_other_settings_is_refused_in_one_line(tmp_path, oracle, few, capsys):
    evaluate(oracle, few, tmp_path, "--limit", "1")
    for options in (["--temperature", "0.5"], ["--bench", "acebench"], ["--form", "dialogues"]):
        with pytest.raises(SystemExit) as stopped:
            evaluate(oracle, few, tmp_path, "--limit", "1", *options)
        assert stopped.value.code == 2
        [line] = [line for line in capsys.readouterr().err.splitlines() if "choose another --output" in line]


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["eval", "nowhere", "--bench", "none"], "--bench none: unknown"),
        (["eval", "nowhere", "--bench", "api_bank"], "--data PATH is missing"),
        (["eval", "http://x/v1", "--bench", "api_bank", "--data", "/nowhere"], "/nowhere: no apibank_l1.json"),
        (["eval", "x", "--bench", "api_bank", "--extra-body", "1"], "--extra-body: expected a JSON object, got 1"),
        (["eval", "x", "--bench", "bfcl", "--bfcl-python", "/no"], "/no: no Python of BFCL's environment"),
        (
            ["eval", "nowhere", "--bench", "acebench", "--data", "DATA"],
            "nowhere: neither a model's folder nor an address",
        ),
        (["eval", "x", "--bench", "api_bank", "--repeats", "2"], "--repeats: all would be the same; add --temperature"),
        (["compare", "one"], "compare: give two folders or more"),
        (["compare", "/nowhere", "/nowhere"], "/nowhere/summary.json: cannot be read"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(arguments, message, capsys, few):
    with pytest.raises(SystemExit) as stopped:
        main([str(few) if one == "DATA" else one for one in arguments])
    assert stopped.value.code == 2
    [line] = capsys.readouterr().err.splitlines()
    assert message in line


def test_ctrl_c_is_one_line_and_the_same_command_resumes(tmp_path, oracle, few):
    oracle.answer = lambda case: time.sleep(0.02) or say(case)
    arguments = ["eval", oracle.url, "--bench", "api_bank", "--data", str(few), "--output", str(tmp_path)]
    arguments += ["--limit", "60", "--concurrency", "2"]
    process = subprocess.Popen([sys.executable, "-m", "tooln1.cli", *arguments], stderr=subprocess.PIPE, text=True)
    while len(oracle.asked) < 20:
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    assert process.communicate()[1] == "stopped; the same command resumes\n"
    assert process.returncode == 130
    kept = len((tmp_path / "responses.jsonl").read_bytes().split(b"\n")) - 2
    time.sleep(0.1)  # what was on its way
    asked = sum(oracle.asked.values())
    assert 10 < kept < 60
    main(arguments)
    assert sum(oracle.asked.values()) - asked == 60 - kept
    assert read(tmp_path)[0]["benchmarks"]["api_bank"]["categories"]["level_1_call"]["scored"] == 60


def test_another_template_writes_the_prompts(tmp_path, oracle, few):
    template = tmp_path / "direct.txt"
    template.write_text("Tools:\n{tools}\nCall them in <tool_call></tool_call>.")
    oracle.know(AceBench(few), Form(template.read_text()))
    # Without <think> in the template, the calls are the whole response.
    oracle.answer = lambda case: say(case).split("</think>")[1]
    options = ["--limit", "2", "--template", str(template)]
    summary, rows = evaluate(oracle, few, tmp_path / "out", *options, bench="acebench")
    assert summary["benchmarks"]["acebench"]["accuracy"] == 1.0
    assert rows[0]["response"].strip().startswith("<tool_call>")
    _, tools = split_system(oracle.bodies[-1]["messages"][0]["content"], template.read_text())
    assert tools


def test_repeats_differ_in_seed_and_order_of_tools_and_show_how_steady_the_model_is(tmp_path, oracle, few):
    oracle.know(AceBench(few), Form("", native=True))
    times = {}

    def sometimes(case):
        times[case.id] = times.get(case.id, 0) + 1
        return {"content": "no call"} if times[case.id] == 2 and "bool" in case.id else call_natively(case)

    # Requests whose tools are shuffled have the same messages.
    oracle.answer = sometimes
    options = ["--interface", "tools", "--limit", "2", "--temperature", "0.7", "--shuffle-tools", "--seed", "5"]
    summary, rows = evaluate(oracle, few, tmp_path, *options, "--repeats", "3", bench="acebench")
    assert sorted({body["seed"] for body in oracle.bodies if "seed" in body}) == [5, 6, 7]
    orders = {}
    for body in oracle.bodies:
        if "tools" in body:
            names = tuple(tool["function"]["name"] for tool in body["tools"])
            orders.setdefault(json.dumps(body["messages"]), set()).add(names)
    assert all(len({tuple(sorted(order)) for order in own}) == 1 for own in orders.values())
    assert any(len(own) > 1 for own in orders.values())
    found = summary["benchmarks"]["acebench"]
    steady = pytest.approx([2 / 3, 1 / 3, 0.0])  # each of the two was wrong once in three times
    assert found["repeats"]["count"] == 3 and found["repeats"]["pass"]["en_atom_bool"] == steady
    assert found["repeats"]["pass"]["accuracy"] == pytest.approx([(7 + 2 / 3) / 8, (7 + 1 / 3) / 8, 7 / 8])
    low, high = found["intervals"]["accuracy"]
    assert low < found["accuracy"] < high and set(found["repeats"]["intervals"]) == set(found["repeats"]["pass"])
    assert [row["repeat"] for row in rows if row["id"] == rows[0]["id"]] == [0, 1, 2]
    assert "| if asked again | pass^3 % |" in re.sub(" +", " ", (tmp_path / "summary.md").read_text())
    asked = oracle.asked.total()
    summary, _ = evaluate(oracle, few, tmp_path, *options, "--repeats", "4", bench="acebench")
    assert oracle.asked.total() == asked + 16 and summary["benchmarks"]["acebench"]["repeats"]["count"] == 4
    main(["compare", str(tmp_path), str(tmp_path)])


def call_natively(case):
    calls = [{"name": call["name"], "arguments": json.dumps(call["arguments"])} for call in case.ground_truth]
    return {"content": None, "tool_calls": [{"id": "x", "type": "function", "function": call} for call in calls]}


def test_any_model_calls_in_its_servers_own_way(tmp_path, oracle, few):
    oracle.know(AceBench(few), Form("", native=True))
    oracle.answer = call_natively
    options = ["--interface", "tools", "--limit", "2"]
    summary, rows = evaluate(oracle, few, tmp_path, *options, bench="acebench")
    assert (summary["benchmarks"]["acebench"]["accuracy"], summary["settings"]["interface"]) == (1.0, "tools")
    assert oracle.bodies[-1]["tools"][0]["type"] == "function"
    assert json.loads(rows[0]["response"])[0]["name"] == rows[0]["calls"][0]["name"]
    oracle.answer = say_prose
    _, rows = evaluate(oracle, few, tmp_path / "prose", *options, bench="acebench")
    assert {row["error"] for row in rows} == {"wrong_tool"}  # a text is no call, and no mistake of format


def test_a_server_that_reads_the_calls_out_of_a_prompted_response_is_no_endpoint_for_it(tmp_path, oracle, few, capsys):
    oracle.answer = call_natively
    with pytest.raises(SystemExit):
        evaluate(oracle, few, tmp_path, "--limit", "2", "--retries", "0", bench="acebench")
    assert "holds no response" in capsys.readouterr().err


def test_the_papers_reader_needs_no_reasoning(tmp_path, oracle, few):
    oracle.answer = lambda case: "So: " + say(case).split("</think>")[1] + " Done."
    summary, _ = evaluate(oracle, few, tmp_path, "--limit", "2", bench="acebench")
    assert summary["benchmarks"]["acebench"]["errors"]["format"] == 16
    summary, _ = evaluate(oracle, few, tmp_path / "paper", "--limit", "2", "--reader", "paper", bench="acebench")
    assert summary["benchmarks"]["acebench"]["accuracy"] == 1.0


def test_compare_shows_what_was_gained_and_lost(tmp_path, oracle, few, capsys):
    evaluate(oracle, few, tmp_path / "a", "--limit", "1", bench="acebench")
    oracle.answer = say_damaged
    evaluate(oracle, few, tmp_path / "b", "--limit", "2", bench="acebench")
    capsys.readouterr()
    main(["compare", str(tmp_path / "a"), str(tmp_path / "b"), str(tmp_path / "a")])
    other, same = capsys.readouterr().out.split("\n## ")[1:]
    assert "has a response: 8\n" in other and "left out" not in same
    assert re.search(r"\| acebench: en_atom_bool .* 100\.00 ", other)
    row = re.search(r"\| acebench: all cases .*", other)[0]
    cells = [cell.strip() for cell in row.split("|")]
    assert cells[2:5] + cells[8:11] == ["8", "100.00", "0.00", "0", "8", "0.008"]  # 2 / 2^8
    assert "Too small to tell" in same and "acebench: all cases" in same.rpartition("5 %)")[2]
    assert "acebench: all cases" not in other.rpartition("5 %)")[2]
    assert re.search(r"\| acebench: all cases .* 0 \| +0 \| 1\.000 \|", same)


def test_published_figures_are_fractions_with_a_source():
    figures = published()
    assert len(figures) == 13 * 11 + 5 + 5 + 3 * 2 + (7 + 4 + 6) * 3
    assert all(0.5 < one["accuracy"] < 1 and "arxiv.org/abs/2505.00024, " in one["source"] for one in figures)
    models = {}
    for one in figures:
        if one["benchmark"] == "bfcl":
            models.setdefault((one["source"], one["model"]), {})[one["group"]] = one["accuracy"]
    unlike = {
        model
        for (_, model), one in models.items()
        if "accuracy" in one and abs(one["accuracy"] - (one["non_live"] + one["live"]) / 2) > 1e-4
    }
    assert unlike == {"ToolACE-8B (FC)", "ToolACE-8B (SFT)"}  # the paper prints 82.57 as the mean of 87.54 and 78.59


def test_every_published_figure_is_in_the_documentation():
    page = (ROOT / "docs" / "reproduce.md").read_text()
    missing = {one["accuracy"] for one in published() if f"{100 * one['accuracy']:.2f}".removesuffix("0") not in page}
    assert not missing
