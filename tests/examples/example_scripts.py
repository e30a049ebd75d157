"""The scripts of examples/, found and not listed."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"

SHELL = sorted(path for path in EXAMPLES.rglob("*") if path.suffix in (".sh", ".sbatch"))
# Has a driver of its own (tests/tiny, tests/e2e).
QUICKSTART = "run_tiny_cpu_grpo.sh"
# Relative to EXAMPLES: all that start `tooln1 train`.
TRAINING = [
    path.relative_to(EXAMPLES)
    for path in SHELL
    if path.parent.name == "ablations" or (path.name.startswith("run_") and path.name != QUICKSTART)
]
