"""Writes the table of gaming attempts into docs/reward.md, from the cases that the tests check.

python tests/reward_score/gaming_table.py
"""

from pathlib import Path

from toolcall_cases import GAMING, ONE, PROFILES, paid

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reward.md"
BEGIN, END = "<!-- gaming: written by tests/reward_score/gaming_table.py -->\n", "<!-- gaming: end -->\n"


def gaming_table() -> str:
    """The attempts, each with a reply and what it earns in both profiles, as a Markdown table."""
    rows = ["| attempt | reply | strict | paper |", "|---|---|---|---|"]
    for reply, attempt in GAMING:
        text = reply.replace("\n", "⏎").replace("|", "\\|")
        rows.append(f"| {attempt} | `{text}` | " + " | ".join(f"{paid(reply, ONE, one):g}" for one in PROFILES) + " |")
    return "\n".join(rows) + "\n"


def with_section(page: str, begin: str, end: str, text: str) -> str:
    """The page with what stands between the lines `begin` and `end` replaced."""
    before, _, rest = page.partition(begin)
    return f"{before}{begin}\n{text}\n{end}{rest.partition(end)[2]}"


if __name__ == "__main__":
    PAGE.write_text(with_section(PAGE.read_text(encoding="utf-8"), BEGIN, END, gaming_table()), encoding="utf-8")
