"""The page without a browser: the same bytes, its policy, its size, and texts that would be markup."""

import base64
import gzip
import hashlib
import json
import re
import shutil

import pytest

from tooln1.report import charts, make_report, payload
from tooln1.report.build import ReportSettings, load_runs
from tooln1.report.page import render, sampling_rule


@pytest.fixture(scope="module")
def page(run_folder):
    return render(load_runs([run_folder], ReportSettings()), ReportSettings())


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
    index = unpack(page, "index")
    assert len(index["rows"]) == 12 * 6 * 4 + 4 * 10
    columns = ("run", "kind", "step", "group", "position", "score", "outcome")
    for row in index["rows"][::17]:
        one = dict(zip(columns, row, strict=False))
        group = unpack(page, f"{one['run']}-{index['words'][one['kind']]}-{one['step']}")[one["group"]]
        rollout = group["rollouts"][one["position"]]
        assert (rollout["score"], rollout["outcome"]) == (one["score"], index["words"][one["outcome"]])


def test_a_page_over_its_budget_gives_up_groups(run_folder, load):
    run = load(run_folder)
    whole = payload.pack([run])
    size = sum(map(len, whole.pieces.values()))
    part = payload.pack([run], budget=size // 2)
    assert sum(map(len, part.pieces.values())) <= size // 2
    assert 0 < part.shown < whole.shown == whole.read == part.read
    assert f"{part.shown:,} of {whole.shown:,} rollouts" in sampling_rule(part, ReportSettings())


def test_the_limit_of_rollouts_is_kept_over_all_runs(run_folder, tmp_path):
    second = shutil.copytree(run_folder, tmp_path / "second")
    runs = load_runs([run_folder, second], ReportSettings(rollouts=100))
    assert 50 <= payload.pack(runs).shown <= 100


def test_many_dumps_are_shown_in_part(run_folder, load):
    """Fewer rollouts than one group a step: then fewer steps."""
    shown = [step for step, scan in load(run_folder, rollouts=20).rollouts.items() if scan.shown]
    assert 0 < len(shown) < 12


def test_names_that_are_markup_stay_text(run_folder, tmp_path):
    folder = shutil.copytree(run_folder, tmp_path / "<img src=x onerror=alert(1)>\u202e")
    runs = load_runs([folder, run_folder], ReportSettings())
    text = render(runs, ReportSettings())
    assert "<img" not in text and "\u202e" not in text


def test_a_page_that_is_refreshed_says_so(run_folder, load):
    assert '<meta http-equiv="refresh" content="7">' in render([load(run_folder)], ReportSettings(), refresh=7)


def test_long_curves_are_thinned_to_their_ends(load, run_folder):
    run = load(run_folder)
    run.scalars["actor/grad_norm"] = {step: 1.0 for step in range(1, 12_346)}
    (chart,) = [chart for chart in charts.make_charts([run]) if chart.key == "grad_norm"]
    steps = chart.lines[0].steps
    assert len(steps) <= charts.MOST_POINTS + 1 and (steps[0], steps[-1]) == (1, 12_345)


def test_layers_of_shares_add_up_to_one(load, run_folder):
    for chart in charts.make_run_charts([load(run_folder)]):
        if chart.share:
            for values in zip(*(line.values for line in chart.lines), strict=True):
                assert sum(values) == pytest.approx(1.0), chart.key


def test_phases_and_the_rest_add_up_to_the_step(load, run_folder):
    run = load(run_folder)
    (chart,) = [chart for chart in charts.make_run_charts([run]) if chart.key == "phases_0"]
    for values in zip(*(line.values for line in chart.lines), strict=True):
        assert sum(values) == pytest.approx(6.5)


@pytest.mark.parametrize(
    "prompt, expected",
    [
        ("system\ntools\nuser\nbook a room\nassistant\n", "book a room"),
        ("system\nx\nuser\nfirst\nassistant\nreply\nuser\nsecond\nassistant\n", "second"),
        ("<|user|>no such template", "<|user|>no such template"),
        ("", ""),
        ("user\n" + "a" * 200, "a" * 90),
    ],
)
def test_the_request_is_the_prompts_last_turn(prompt, expected):
    assert payload.asked(prompt).removesuffix("…") == expected
