"""The page in headless Chromium: what a reader sees, clicks and prints, and what a model's text cannot do to it.

Each page is opened once; a test fails for anything that the page says on the console, any dialog and any request.
The file's name keeps it out of the fast tier, because a browser takes half a minute.
"""

import json
import re
import shutil

import pytest
from verl_run import rollout, write_lines, write_run

from tooln1.report import make_report

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
SECTIONS = ("summary", "curves", "composition", "rollouts", "evaluation", "settings", "missing")


@pytest.fixture(scope="module")
def open_page():
    """Opens a page and waits until it is ready. Messages on the console and requests are kept in ``complaints``."""
    if CHROMIUM is None:
        pytest.skip("no chromium, chromium-browser or google-chrome on PATH")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (extra dev)")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])

        def open_it(path):
            page = browser.new_context(viewport={"width": 1440, "height": 900}).new_page()
            page.complaints = complaints = []
            page.on("console", lambda message: complaints.append(f"console: {message.text}"))
            page.on("pageerror", lambda error: complaints.append(f"error: {error}"))
            page.on("dialog", lambda dialog: (complaints.append(f"dialog: {dialog.message}"), dialog.dismiss()))
            page.on("request", lambda request: complaints.append(request.url) if request.url[:5] != "file:" else None)
            page.goto(path.resolve().as_uri())
            page.wait_for_selector("html[data-ready]", timeout=60_000)
            return page

        yield open_it
        browser.close()


@pytest.fixture(scope="module")
def first_page(run_folder, tmp_path_factory, open_page):
    return open_page(make_report([run_folder], tmp_path_factory.mktemp("page") / "one.html"))


@pytest.fixture(scope="module")
def second_page(run_folder, tmp_path_factory, open_page):
    folder = tmp_path_factory.mktemp("three")
    others = [write_run(folder / f"seed{seed}", seed, steps=6) for seed in (1, 2)]
    change = {"step": 3, "key": "data.<b>seed", "old": 0, "new": 1}
    (folder / "seed1" / "run.json").write_text(json.dumps({"changes": [change]}))
    return open_page(make_report([run_folder, *others], folder / "three.html"))


def as_new(page):
    """Clear the filters and the complaints, which are those of another test."""
    page.complaints.clear()
    page.set_viewport_size({"width": 1440, "height": 900})
    page.click("#filters button[type=reset]")
    page.locator("#page", has_text=re.compile("^1 of")).wait_for()
    return page


@pytest.fixture
def page_of_one(first_page):
    yield as_new(first_page)
    assert first_page.complaints == []


@pytest.fixture
def page_of_three(second_page):
    yield as_new(second_page)
    assert second_page.complaints == []


def scroll_through(page):
    """Charts are drawn when they come near the window."""
    for place in range(0, page.evaluate("document.documentElement.scrollHeight"), 700):
        page.evaluate(f"scrollTo(0, {place})")
        page.wait_for_timeout(30)
    for plot in page.locator("figure:not([hidden]) [data-chart]").all():
        plot.locator("svg.main-svg").first.wait_for(state="attached")


def fits(page):
    """Whether nothing sticks out to the right of the window."""
    return page.evaluate("document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.parametrize("width, scheme", [(1440, "light"), (1440, "dark"), (390, "light")])
def test_every_section_is_filled_and_fits(width, scheme, page_of_three):
    page = page_of_three
    page.set_viewport_size({"width": width, "height": 900})
    page.emulate_media(color_scheme=scheme)
    scroll_through(page)
    for section in SECTIONS:
        assert len(page.locator(f"#{section}").inner_text().strip()) > 20, section
    assert page.locator("figure svg.main-svg .scatterlayer .trace").count() > 20
    assert page.locator("#list li").count() == 20
    assert page.locator("#rollout pre").count() >= 3
    assert fits(page)
    # No label of the summary is broken into letters.
    widths = page.eval_on_selector_all(".facts tbody th", "cells => cells.map(cell => cell.clientWidth)")
    assert len(widths) > 15 and min(widths) >= 100


def test_the_first_rollout_is_a_failure_in_a_group_in_which_others_are_right(page_of_one):
    group = page_of_one.locator("#rollout .group button")
    assert {text.split("\n")[0] for text in group.all_inner_texts()} == {"score 0", "score 1"}
    assert page_of_one.locator("#rollout .group button[aria-pressed=true]").inner_text().startswith("score 0")
    assert page_of_one.locator("#rollout mark").count() >= 1
    group.last.click()
    page_of_one.wait_for_selector("#rollout .group button:last-child[aria-pressed=true]")


def test_filters_narrow_the_list_and_clear(page_of_one):
    page, count, items = page_of_one, page_of_one.locator("#count"), page_of_one.locator("#list li")
    assert count.inner_text() == "328 rollouts"
    page.select_option("[name=step]", "12")
    assert count.inner_text() == "34 rollouts"  # with the validation of that step
    page.select_option("[name=kind]", "rollouts")
    assert count.inner_text() == "24 rollouts"
    for name, value in (("outcome", "right"), ("score", "1"), ("source", "toolcall/xlam")):
        page.select_option(f"[name={name}]", value)
    assert 0 < items.count() < 24
    assert all("toolcall/xlam" in text and "right" in text for text in items.all_inner_texts())
    page.click("#filters button[type=reset]")
    count.filter(has_text="328 rollouts").wait_for()
    page.fill("[name=text]", "no request holds this")
    assert count.inner_text() == "0 rollouts"


def test_pages_of_the_list_turn(page_of_one):
    first = page_of_one.locator("#list").inner_text()
    page_of_one.click("#next")
    assert page_of_one.locator("#list").inner_text() != first
    page_of_one.click("#back")
    assert page_of_one.locator("#list").inner_text() == first


def test_the_address_brings_back_what_was_shown(page_of_one):
    page = page_of_one
    page.select_option("[name=reason]", "wrong arguments")
    last = page.locator("#list li").last
    key = last.get_attribute("data-key")
    last.click()
    page.wait_for_function("key => location.hash.endsWith(key)", arg=key)
    shown = page.locator("#rollout").inner_text()
    page.reload()
    page.wait_for_selector("html[data-ready]")
    assert page.locator("[name=reason]").input_value() == "wrong arguments"
    assert page.locator("#rollout").inner_text() == shown


def test_runs_are_switched_off_and_on(page_of_three):
    page = page_of_three
    reward = page.locator("[data-chart=reward] .scatterlayer .trace")
    page.select_option("#metric", "actor/grad_norm")  # any metric can be drawn
    any_metric = page.locator("#metric-plot .scatterlayer .trace")
    marks = page.locator("[data-chart=reward] .shapelayer text, #metric-plot .shapelayer text")
    for traces in (reward, any_metric):
        traces.nth(2).wait_for(state="attached")
    assert marks.all_text_contents() == ["data.<b>seed"] * 2
    page.uncheck("[data-run='1']")
    for traces in (reward, any_metric):
        traces.nth(2).wait_for(state="detached")
        assert traces.count() == 2
    marks.first.wait_for(state="detached")
    page.select_option("#metric", "timing_s/gen")  # a chart that is drawn later leaves the run out too
    page.wait_for_selector("#metric-plot .trace")
    assert any_metric.count() == 2 and marks.count() == 0
    page.check("[data-run='1']")
    reward.nth(2).wait_for(state="attached")


def test_the_rollouts_of_one_run_are_shown_with_their_outcomes(page_of_three):
    page = page_of_three
    page.select_option("#composition-run", "2")
    page.wait_for_selector("[data-chart=outcomes_2] .trace")
    assert page.locator("[data-chart=outcomes_0]").is_hidden()
    page.select_option("[name=run]", "2")
    assert all(text.startswith("seed2") for text in page.locator("#list li").all_inner_texts())


def test_on_paper_every_chart_is_drawn_within_the_page(page_of_three):
    page = page_of_three
    page.set_viewport_size({"width": 700, "height": 900})
    page.emulate_media(media="print", color_scheme="dark")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    for plot in page.locator("figure:not([hidden]) [data-chart]").all():
        assert plot.locator("svg.main-svg").count() > 0
    assert fits(page)
    edges = page.locator("svg.main-svg").evaluate_all("all => all.map(one => one.getBoundingClientRect().right)")
    assert max(edges) <= 700
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.locator("#filters").is_hidden() and page.locator("#rollout").is_visible()
    page.emulate_media(media="screen", color_scheme="light")
    assert len(page.pdf(format="A4")) > 50_000


ATTACK = "document.body.dataset.hacked = 'yes'; alert(1)"
PAYLOADS = [
    f"<script>{ATTACK}</script>",
    f"</script><script>{ATTACK}</script>",
    f'</pre></article></main></style></title></textarea><img src=x onerror="{ATTACK}">',
    f'<svg onload="{ATTACK}"><a href="javascript:{ATTACK}">x</a>',
    f'<a href="javascript:{ATTACK}" onclick="{ATTACK}">click me</a>',
    f'<iframe srcdoc="<script>{ATTACK}</script>"></iframe><object data="javascript:{ATTACK}">',
    "<meta http-equiv=refresh content='0;url=https://example.org'><base href=https://example.org>",
    "<link rel=stylesheet href=//example.org/x.css>",
    "<style>*{display:none!important}</style><!-- --!> <![CDATA[ ]]> <plaintext>",
    "{{ 7*7 }} {% raw %} ${7*7} %s {0} \\u003cscript\\u003e &lt;b&gt; &#60;i&#62;",
    "\x00\x01\x07\x08\x0b\x0c\x1b[31mred\x1b[0m\x7f\x9b\r\n\u2028\u2029",
    "\u202egnp.exe \u2066isolated \u200f\u061c \u202d never closed",
    "Z" + "\u0301\u0327\u0489" * 300,
    "a" * 1_000_000,
    "<b>" * 300_000,
    "\u5b57" * 200_000,
    "\ud800 \udfff lone halves \ufffe \uffff \U0010ffff",
    "<think>" * 1000 + "</think>" * 1000 + "<tool_call>[" + "[" * 5000,
]


@pytest.fixture(scope="module")
def hostile_page(tmp_path_factory, open_page):
    """A run in which prompts, responses, ground truths, sources, metrics and names hold each of the payloads."""
    folder = tmp_path_factory.mktemp("hostile") / "<img src=x onerror=alert(1)>"
    rows = []
    for place, text in enumerate(PAYLOADS):
        prompt = f"system\n{text}\nuser\n{text}\nassistant\n"
        call = f'[{{"name": "f", "arguments": {{"x": "{text[:2000].encode("unicode_escape").decode()}"}}}}]'
        for number, output in enumerate((text, f"<think>{text}</think><tool_call>[]</tool_call>")):
            row = rollout("", "[]", uid=f"{place}_{number}_0", prompt=prompt)
            rows.append(row | {"output": output, "gts": text if number else call, "data_source": text[:3000]})
    write_lines(folder / "rollouts" / "1.jsonl", rows)
    with (folder / "rollouts" / "1.jsonl").open("ab") as dump:
        dump.write(b'{"input": "\xff\xfe\x80", "output": "\xc3\x28 \xf0\x28\x8c\xbc", "gts": "[]", "score": 0}\n')
        dump.write(b'{"input": "cut')
    names = {f"{text[:200]}/{number}": 1.0 for number, text in enumerate(PAYLOADS)}
    accuracies = {f"val-core/{text[:200]}/acc/mean@1": 0.5 for text in PAYLOADS}
    metrics = [{"step": step, "data": {"critic/score/mean": 0.5} | accuracies | names} for step in (1, 2)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in metrics))
    config = {"trainer": {}, "actor_rollout_ref": {"model": {"path": PAYLOADS[2]}}}
    (folder / "config.yaml").write_text(json.dumps(config))
    second = shutil.copytree(folder, folder.with_name("<script>alert(1)"))
    return open_page(make_report([folder, second], folder.parent / "page.html"))


@pytest.fixture
def page_of_attacks(hostile_page):
    yield as_new(hostile_page)
    assert hostile_page.complaints == []


def test_nothing_that_a_model_writes_runs_or_breaks_the_layout(page_of_attacks):
    page = page_of_attacks
    scroll_through(page)
    assert page.locator("#count").inner_text() == f"{2 * (2 * len(PAYLOADS) + 1)} rollouts"
    for _ in range(2):
        for index in range(page.locator("#list li").count()):
            page.evaluate(f"document.querySelectorAll('#list li')[{index}].click()")
            page.wait_for_selector(f"#list li:nth-child({index + 1})[aria-current]")
            page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
            for width in (1440, 390):
                page.set_viewport_size({"width": width, "height": 900})
                assert fits(page)
        page.evaluate("document.getElementById('next').click()")
    assert page.evaluate("document.body.dataset.hacked") is None
    # All elements come from the template or the charts' library.
    foreign = "iframe, object, base, link, img, meta[http-equiv=refresh], #rollout a, #rollout svg"
    assert page.locator(foreign).count() == 0
    assert page.locator("header.top").is_visible() and page.locator("footer").count() == 1
    assert page.evaluate("getComputedStyle(document.querySelector('#rollout pre')).direction") == "ltr"


def test_invisible_characters_are_shown_by_their_number(page_of_attacks):
    page = page_of_attacks
    page.fill("[name=text]", "gnp.exe")
    page.locator("#list li").first.click()
    page.locator("#rollout", has_text="gnp.exe").wait_for()
    shown = page.locator("#rollout").inner_text()
    assert "U+202E" in shown and "\u202e" not in shown
    assert not set("\u202a\u202d\u202e\u2066\u200f\x00\x1b") & set(page.locator("body").inner_text())
