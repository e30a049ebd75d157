"""The commands of the documentation: what test_docs.py reads, and what e2e/test_walkthroughs_engine.py runs."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]

# Commands that the tests cannot run as they are written, by what stands in them.
NOT_RUN = {
    r"git clone|tests/run\.sh|^source |setup_(bfcl|gpu)|ruff check": "installs or tests the checkout",
    r"run_tiny_cpu_grpo\.sh +# GRPO": "the quickstart, which comes before all others",
    r"^(PAPER=1 )?(bash|sbatch) examples/(ablations/|slurm/|run_(qwen|llama))": "trains on GPUs",
    r"^tooln1 train .*--run-dir": "trains on GPUs",
    r"runs/(7b|qwen\w+|eval/\S+)|models/qwen7b": "continues a run on GPUs, or an evaluation",
    r"^#SBATCH|child|scontrol": "lines of a batch script",
    r"_benchmarks|data/benchmarks": "needs a benchmark's data",
    r"http://localhost|\bURL\b|distill\.py|sft-reason": "needs an endpoint",
    r"--bench rows": "the quickstart's model is too small for these prompts",
    r"^(tooln1 serve (?!.*--dry-run)|vllm serve|sglang serve|tooln1 report \S+ --watch)": "runs until it is stopped",
    r"serve_and_call": "tests/examples/test_serve_and_call_engine.py",
    r"my_run\.yaml": "a file of the reader's",
    r"nvidia/|Salesforce/APIGen": "needs the hub",
    r"^python (benchmarks/|tests/)": "measures for minutes",
}


def blocks(page: Path, language: str = "bash") -> list[str]:
    """Return the text of a page's code blocks in a language."""
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(encoding="utf-8"), re.S)


def lines(page: Path) -> list[str]:
    """Return the command lines of a page; those that end in a backslash are joined."""
    found = (line for block in blocks(page) for line in block.replace("\\\n", " ").splitlines())
    return [line for line in found if line.strip()]


def is_run(line: str) -> bool:
    """Whether the tests run a command line."""
    return not any(re.search(pattern, line) for pattern in NOT_RUN)
