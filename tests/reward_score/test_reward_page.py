"""docs/reward.md: what is generated in it is current, and what it shows exists."""

import re
from xml.etree import ElementTree

import pytest
from gaming_table import BEGIN, END, PAGE, gaming_table, with_section
from toolcall_cases import GAMING


def test_the_gaming_table_is_current():
    page = PAGE.read_text(encoding="utf-8")
    assert page == with_section(page, BEGIN, END, gaming_table()), "run python tests/reward_score/gaming_table.py"
    assert gaming_table().count("\n") == len(GAMING) + 2


@pytest.mark.parametrize("name", ["reward.md", "adding_a_reward.md"])
def test_every_path_that_the_pages_name_exists(name):
    root = PAGE.parents[1]
    text = (PAGE.parent / name).read_text(encoding="utf-8")
    paths = re.findall(r"\b(?:tooln1|tests|benchmarks|recipe|examples)/[\w./]+", text)
    assert paths and [path for path in paths if not (root / path.rstrip(".")).exists()] == []
    assert all((PAGE.parent / picture).exists() for picture in re.findall(r"\]\((\w+\.svg)\)", text))


def test_the_speed_section_holds_the_table_and_the_plot():
    section = PAGE.read_text(encoding="utf-8").partition("<!-- speed: written")[2].partition("<!-- speed: end -->")[0]
    assert "strict / json.loads" in section and "(reward_speed.svg)" in section
    assert ElementTree.parse(PAGE.parent / "reward_speed.svg").getroot().tag.endswith("svg")
