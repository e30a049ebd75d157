"""Commands and links in README.md and docs/: scripts exist, commands parse, links lead somewhere."""

import re
import shlex

import pytest
from walkthroughs import NOT_RUN, PAGES, ROOT, lines

from tooln1.cli import parse


def commands(page):
    """The commands of a page's bash blocks, as words."""
    for line in lines(page):
        for part in re.split(r" && | \|\| | \| |; | & ?$", line):
            words = shlex.split(part, comments=True)
            while words and re.match(r"[A-Z_]+=", words[0]):
                words = words[1:]
            if words:
                yield words


ALL = [pytest.param(words, id=f"{page.name}: {shlex.join(words)[:70]}") for page in PAGES for words in commands(page)]


@pytest.mark.parametrize("words", ALL)
def test_a_command_of_the_docs_can_be_given(words):
    if words[0] == "tooln1":
        assert parse(words[1:]).run
    elif words[0] in ("bash", "python", "source", "sbatch") and not words[1].startswith("-"):
        path = re.sub(r"\.venv[\w-]*/bin/activate", "setup.py", words[1])  # made by the installation
        assert (ROOT / path).is_file(), path


def test_every_reason_not_to_run_a_command_has_one():
    every = [line for page in PAGES for line in lines(page)]
    assert [pattern for pattern in NOT_RUN if not any(re.search(pattern, line) for line in every)] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page):
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), target


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150
