"""The page without a browser: the same bytes, its policy, its size, its charts, and names that would be markup."""

import base64
import gzip
import hashlib
import json
import re
import shutil

import pytest

from tooln1.report import charts, make_report
from tooln1.report.page import last_request, pack, render
from tooln1.report.run_data import load_runs


@pytest.fixture(scope="module")
def page(run_folder):
    return render(load_runs([run_folder]))


def unpack(page, name):
    text = re.search(rf'id="piece-{name}">([^<]*)<', page)[1]
    return json.loads(gzip.decompress(base64.b64decode(text)))


def test_the_same_run_gives_the_same_bytes(page, run_folder, tmp_path):
    made = make_report([run_folder], tmp_path / "new folder" / "report.html")
    assert made.read_text(encoding="utf-8") == page


def test_the_policy_names_the_hashes_of_the_only_scripts(page):
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)[1].replace("&#39;", "'")
    (script,) = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    plotly = gzip.decompress(base64.b64decode(re.search(r'id="piece-plotly">([^<]*)<', page)[1]))
    for text in (script.encode(), plotly):
        assert f"'sha256-{base64.b64encode(hashlib.sha256(text).digest()).decode()}'" in policy
    assert "default-src 'none'" in policy and "unsafe-eval" not in policy
    assert not re.search(r"<[^>]* on\w+=|(src|href)=\"(?!#)", page)


def test_every_rollout_is_in_the_index_and_in_its_piece(page):
    rows = unpack(page, "index")
    assert len(rows) == 12 * 6 * 4 + 4 * 10
    for run, kind, step, group, position, score, outcome, *_ in rows[::17]:
        rollout = unpack(page, f"{run}-{kind}-{step}")[group]["rollouts"][position]
        assert (rollout["score"], rollout["outcome"]) == (score, outcome)


def test_a_page_over_its_budget_gives_up_groups(run_folder, load):
    run = load(run_folder)
    whole = pack([run])
    size = sum(map(len, whole.pieces.values()))
    part = pack([run], budget=size // 2)
    assert sum(map(len, part.pieces.values())) <= size // 2
    assert 0 < part.shown < whole.shown == whole.read == part.read


def test_the_limit_of_rollouts_is_kept_over_all_runs(run_folder, tmp_path):
    second = shutil.copytree(run_folder, tmp_path / "second")
    runs = load_runs([run_folder, second], rollouts=100)
    assert 50 <= pack(runs).shown <= 100


def test_with_fewer_rollouts_than_steps_some_steps_show_none(run_folder, load, page):
    run = load(run_folder, rollouts=20)
    shown = [step for step, dump in run.rollouts.items() if dump.shown]
    assert 0 < len(shown) < 12
    assert f"{pack([run]).shown} of 328 rollouts are shown" in render([run])
    assert "All 328 rollouts are shown" in page


def test_names_that_are_markup_stay_text(run_folder, tmp_path):
    folder = shutil.copytree(run_folder, tmp_path / "<img src=x onerror=alert(1)>\u202e")
    text = render(load_runs([folder, run_folder]))
    assert "<img" not in text and "\u202e" not in text


def test_long_curves_are_thinned_but_keep_their_ends(load, run_folder):
    run = load(run_folder)
    run.scalars["actor/grad_norm"] = {step: 1.0 for step in range(1, 12_346)}
    (chart,) = [chart for chart in charts.make_charts([run]) if chart.key == "grad_norm"]
    steps = chart.lines[0].steps
    assert len(steps) <= charts.MOST_POINTS + 1 and (steps[0], steps[-1]) == (1, 12_345)


def test_layers_add_up_to_one_or_to_the_seconds_of_the_step(load, run_folder):
    for chart in charts.make_run_charts([load(run_folder)]):
        for values in zip(*(line.values for line in chart.lines), strict=True):
            assert sum(values) == pytest.approx(1.0 if chart.percent else 6.5), chart.key


def test_every_chart_marks_where_its_run_continued_under_other_settings(load, run_folder):
    first, second = load(run_folder), load(run_folder)
    keys = ("reward.custom_reward_function.path", "content of /data/train.parquet", "data.seed")
    second.record["changes"] = [{"step": 3, "key": key, "old": "a", "new": "b"} for key in keys]
    made = [*charts.make_charts([first, second]), *charts.make_run_charts([second])]
    found = {chart.key: chart.marks for chart in made}
    assert found.pop("accuracy") == [charts.Mark(1, 3, "custom_reward_function.path, tr…")]
    assert all([mark.step for mark in marks] == [3] for marks in found.values())
    assert charts.make_charts([first])[0].marks == []


def test_colours_tell_runs_apart_and_in_a_single_run_sources(load, run_folder):
    run = load(run_folder)
    alone, both = (charts.make_charts(runs)[1] for runs in ([run], [run, run]))
    assert [line.name for line in alone.lines] == ["all", "toolace_single_turn", "xlam"]
    assert len(set(map(alone.colour, alone.lines))) == 3
    assert len(set(map(both.colour, both.lines))) == 2


@pytest.mark.parametrize(
    "prompt, expected",
    [
        ("system\ntools\nuser\nbook a room\nassistant\n", "book a room"),
        ("system\nx\nuser\nfirst\nassistant\nanswer\nuser\nsecond\nassistant\n", "second"),
        ("<|user|>no such template", "<|user|>no such template"),
        ("", ""),
        ("user\n" + "a" * 200, "a" * 90),
    ],
)
def test_the_request_is_the_prompts_last_turn(prompt, expected):
    assert last_request(prompt).removesuffix("…") == expected
