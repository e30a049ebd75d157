"""Running the scripts of examples/: for real, or with a stand-in for `tooln1` that writes down what it is called with.

Makes example_scripts.py importable too: in pytest's importlib mode a test's own folder is not.
"""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from example_scripts import EXAMPLES  # noqa: E402

# What decides about a run besides the command line: each test sets what it wants of these.
SWITCHES = (
    *("MODEL_PATH", "TRAIN_FILE", "VAL_FILE", "SFT_TRAIN_FILE", "RUN_DIR", "DATA_DIR"),
    *("DRY_RUN", "ENGINE", "PAPER", "PLATFORM", "LOGGERS"),
    *("SIZES", "VERSIONS", "VARIANTS", "MIXTURES"),
)

STAND_IN = f"""#!{sys.executable}
import json, os, sys
environ = {{name: os.environ.get(name) for name in {SWITCHES!r}}}
with open(os.environ["RECORD"], "a") as record:
    record.write(json.dumps({{"argv": sys.argv[1:], "environ": environ}}) + "\\n")
"""


@dataclass(frozen=True)
class Command:
    """One call of `tooln1 train` by a script."""

    script: Path
    config: str
    overrides: tuple[str, ...]
    environ: dict[str, str]


def environment(**settings):
    """This process's environment with these switches and no others; the scripts find its Python first."""
    kept = {key: value for key, value in os.environ.items() if key not in SWITCHES}
    path = f"{Path(sys.executable).parent}{os.pathsep}{kept['PATH']}"
    return {**kept, "PATH": path, **{key: str(value) for key, value in settings.items()}}


@pytest.fixture(scope="session")
def run_script():
    """Runs a script from a folder that is not the checkout."""

    def run(script, *arguments, timeout=60, cwd="/", **settings):
        command = ["bash", str(EXAMPLES / script), *arguments]
        env = environment(**settings)
        return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=timeout)

    return run


@pytest.fixture(scope="session")
def commands_of(tmp_path_factory, run_script):
    """The calls of `tooln1 train` that a script makes, without making them."""
    folder = tmp_path_factory.mktemp("stand-in")
    stand_in = folder / "tooln1"
    stand_in.write_text(STAND_IN)
    stand_in.chmod(0o755)

    def commands(script, *arguments, **settings):
        record = folder / "record"
        record.unlink(missing_ok=True)
        path = f"{folder}{os.pathsep}{environment()['PATH']}"
        done = run_script(script, *arguments, **{"RECORD": record, "PATH": path, "DRY_RUN": 1, **settings})
        assert done.returncode == 0, done.stderr
        calls = [json.loads(line) for line in record.read_text().splitlines()] if record.exists() else []
        assert all(call["argv"][0] == "train" for call in calls)
        return [
            Command(script, call["argv"][1], tuple(call["argv"][2:]), {k: v for k, v in call["environ"].items() if v})
            for call in calls
        ]

    return commands
