"""What the report's tests share: a run as verl leaves it, and a browser that looks at its page."""

import shutil
import sys
from pathlib import Path

import pytest

# In pytest's importlib mode a test's own folder is not importable.
sys.path.insert(0, str(Path(__file__).parent))

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory):
    """A complete run of 12 steps; tests that change it copy it first."""
    from verl_run import write_run

    return write_run(tmp_path_factory.mktemp("report") / "seed0")


@pytest.fixture
def load():
    """Reads one run folder."""
    from tooln1.report.build import ReportSettings, load_runs

    return lambda folder, **settings: load_runs([folder], ReportSettings(**settings))[0]


@pytest.fixture(scope="module")
def chromium():
    if CHROMIUM is None:
        pytest.skip("no chromium, chromium-browser or google-chrome on PATH")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (extra dev)")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def open_page(chromium):
    """Opens a page and waits until it is ready. What reaches the console or the network is kept in ``complaints``."""
    contexts = []

    def open_it(path, width=1440, height=900):
        contexts.append(chromium.new_context(viewport={"width": width, "height": height}))
        page = contexts[-1].new_page()
        page.complaints = complaints = []
        page.on("console", lambda message: complaints.append(f"console: {message.text}"))
        page.on("pageerror", lambda error: complaints.append(f"error: {error}"))
        page.on("dialog", lambda dialog: (complaints.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        page.on("request", lambda request: complaints.append(request.url) if request.url[:5] != "file:" else None)
        page.goto(path.resolve().as_uri())
        page.wait_for_selector("html[data-ready]", timeout=60_000)
        return page

    yield open_it
    for context in contexts:
        context.close()
