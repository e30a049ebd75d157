"""`tooln1 eval` and `tooln1 compare` from the command line, against a local endpoint."""

import json
import re

import pytest
from oracle import say, say_damaged, say_prose

from tooln1.cli import main
from tooln1.eval.acebench import AceBench
from tooln1.eval.api_bank import ApiBank
from tooln1.eval.cases import ERRORS
from tooln1.eval.summary import published
from tooln1.prompt import split_system

BOTH = ["--bench", "api_bank,acebench"]


@pytest.fixture
def server(server, data):
    for benchmark in (ApiBank(data), AceBench(data)):
        server.know(benchmark)
    return server


def evaluate(server, data, output, *options):
    main(["eval", server.url, *BOTH, "--data", str(data), "--output", str(output), *options])
    summary = json.loads((output / "summary.json").read_text())
    rows = [json.loads(line) for line in (output / "results.jsonl").read_text().splitlines()]
    return summary, rows


@pytest.mark.parametrize("reply, accuracy", [(say, 1.0), (say_damaged, 0.0), (say_prose, 0.0)])
def test_oracles(tmp_path, server, data, reply, accuracy, capsys):
    server.answer = lambda case, times: reply(case)
    summary, rows = evaluate(server, data, tmp_path, "--limit", "8")
    assert len(rows) == 8 + 8 * 8 == len({(row["benchmark"], row["id"]) for row in rows})
    for benchmark in summary["benchmarks"].values():
        assert benchmark["accuracy"] == accuracy
        assert benchmark["errors"].keys() == ERRORS.keys()
        assert sum(benchmark["errors"].values()) == (
            0 if accuracy else sum(one["scored"] for one in benchmark["categories"].values())
        )
        assert not benchmark["unanswered"]
    assert "Tool-N1-7B (paper)" in capsys.readouterr().out


def test_the_summary_has_the_documented_fields(tmp_path, server, data):
    summary, rows = evaluate(server, data, tmp_path, "--limit", "2")
    assert summary.keys() == {"model", "created", "settings", "benchmarks", "reference"}
    assert summary["model"] == "oracle"
    assert summary["settings"]["limit"] == 2
    category = summary["benchmarks"]["acebench"]["categories"]["en_atom_bool"]
    interval = category.pop("interval")
    assert category == {"accuracy": 1.0, "correct": 2, "scored": 2, "unanswered": 0}
    assert interval == pytest.approx([0.3424, 1.0], abs=1e-4)
    assert summary["reference"] == published()
    assert {row["correct"] for row in rows} == {True}
    assert rows[0].keys() == {
        "benchmark", "id", "category", "correct", "error", "detail", "reply", "calls", "reference", "finish_reason"
    }  # fmt: skip


def test_unanswered_cases_are_in_no_figure_and_the_exit_code_says_so(tmp_path, server, data, capsys):
    server.answer = lambda case, times: (500, {}) if case.id == "apibank_l1/1" else say(case)
    with pytest.raises(SystemExit) as stopped:
        evaluate(server, data, tmp_path, "--limit", "3", "--retries", "0")
    assert stopped.value.code == 1
    assert "1 cases got no response" in capsys.readouterr().err
    found = json.loads((tmp_path / "summary.json").read_text())["benchmarks"]["api_bank"]
    assert found["accuracy"] == 1.0
    assert found["categories"]["level_1_call"]["unanswered"] == 1
    assert [one["id"] for one in found["unanswered"]] == ["apibank_l1/1"]
    row = json.loads((tmp_path / "results.jsonl").read_text().splitlines()[1])
    assert (row["correct"], row["reply"]) == (None, None)
    server.answer = lambda case, times: say(case)
    summary, _ = evaluate(server, data, tmp_path, "--limit", "3")
    assert not summary["benchmarks"]["api_bank"]["unanswered"]


def test_examples_show_what_was_wrong(tmp_path, server, data):
    server.answer = lambda case, times: say_damaged(case) if case.id.startswith("apibank") else say_prose(case)
    evaluate(server, data, tmp_path, "--limit", "4")
    page = (tmp_path / "summary.md").read_text()
    assert "### wrong_type" in page and "### format" in page
    assert re.search(r"- api_bank `apibank_l1/\d+`: \w+ is \{\"damaged\": true\} instead of", page)
    assert page.count("- acebench `") == 3


def test_another_models_folder_is_refused_in_one_line(tmp_path, server, data, capsys):
    evaluate(server, data, tmp_path, "--limit", "1")
    for options in (["--temperature", "0.5"], ["--bench", "api_bank"], ["--form", "dialogues"]):
        with pytest.raises(SystemExit) as stopped:
            evaluate(server, data, tmp_path, "--limit", "1", *options)
        assert stopped.value.code == 2
        [line] = [line for line in capsys.readouterr().err.splitlines() if "choose another --output" in line]


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["eval", "nowhere", "--bench", "none"], "--bench none: unknown"),
        (["eval", "nowhere", "--bench", "api_bank"], "--data DIR is missing"),
        (
            ["eval", "http://localhost:1/v1", "--bench", "api_bank", "--data", "/nowhere"],
            "/nowhere: no apibank_l1.json",
        ),
        (
            ["eval", "x", "--bench", "api_bank", "--extra-body", "1"],
            "--extra-body: expected a JSON object, got 1",
        ),
        (
            ["eval", "x", "--bench", "bfcl", "--bfcl-python", "/no/python"],
            "/no/python: no Python of BFCL's environment",
        ),
        (["compare", "one"], "compare: give two folders or more"),
        (["compare", "/nowhere", "/nowhere"], "/nowhere/summary.json: cannot be read"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(arguments, message, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    [line] = capsys.readouterr().err.splitlines()
    assert message in line


def test_a_target_that_is_no_model_is_named(data, tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["eval", "nowhere", *BOTH, "--data", str(data), "--output", str(tmp_path)])
    assert "nowhere: neither a model's folder nor an address" in capsys.readouterr().err


def test_another_template_writes_the_prompts(tmp_path, server, data):
    template = tmp_path / "direct.txt"
    template.write_text("Tools:\n{tools}\nCall them in <tool_call></tool_call>.")
    for benchmark in (ApiBank(data, template.read_text()), AceBench(data, template.read_text())):
        server.know(benchmark)
    # Without <think> in the template, the calls alone make a reply.
    server.answer = lambda case, times: say(case).split("</think>")[1]
    summary, _ = evaluate(server, data, tmp_path / "out", "--limit", "2", "--template", str(template))
    assert summary["benchmarks"]["acebench"]["accuracy"] == 1.0
    _, tools = split_system(server.bodies[-1]["messages"][0]["content"], template.read_text())
    assert tools


def test_compare_shows_what_was_gained_and_lost(tmp_path, server, data, capsys):
    evaluate(server, data, tmp_path / "a", "--limit", "8")
    server.answer = lambda case, times: say_damaged(case) if "atom_bool" in case.id else say(case)
    evaluate(server, data, tmp_path / "b", "--limit", "8")
    capsys.readouterr()
    main(["compare", str(tmp_path / "a"), str(tmp_path / "b"), str(tmp_path / "a")])
    text = capsys.readouterr().out
    parts = text.split("\n## ")[1:]
    assert len(parts) == 2
    row = re.search(r"\| acebench: en_atom_bool .*", parts[0])[0]
    assert [cell.strip() for cell in row.split("|")[2:5]] == ["8", "100.00", "0.00"]
    assert [cell.strip() for cell in row.split("|")[7:10]] == ["0", "8", "0.008"]  # 2 / 2^8
    assert re.search(r"\| acebench: all cases .* 0 \| +0 \| 1\.000 \|", parts[1])


def test_compare_leaves_out_what_one_run_lacks(tmp_path, server, data, capsys):
    evaluate(server, data, tmp_path / "a", "--limit", "2")
    evaluate(server, data, tmp_path / "b", "--limit", "3")
    capsys.readouterr()
    main(["compare", str(tmp_path / "a"), str(tmp_path / "b")])
    assert "9 cases are left out" in capsys.readouterr().out


def test_published_figures_are_shares_with_a_source():
    figures = published()
    assert {one["benchmark"] for one in figures} <= {"bfcl", "api_bank", "acebench"}
    assert all(0.5 < one["accuracy"] < 1 and "arxiv.org/abs/2505.00024" in one["source"] for one in figures)
    bfcl = {(one["model"], one["group"]): one["accuracy"] for one in figures if one["benchmark"] == "bfcl"}
    for model in {model for model, _ in bfcl}:
        # The paper's overall is the mean of the two.
        halves = bfcl[model, "live"] + bfcl[model, "non_live"]
        assert bfcl[model, "accuracy"] == pytest.approx(halves / 2, abs=1e-4)
