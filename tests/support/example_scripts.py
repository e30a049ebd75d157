"""The scripts of examples/, and running them: for real, or with a `tooln1` that only prints its arguments."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"

SHELL = sorted(path for path in EXAMPLES.rglob("*") if path.suffix in (".sh", ".sbatch"))
# Relative to EXAMPLES: all scripts that train by `launch`. tests/e2e tests the quickstart.
TRAINING = [
    path.relative_to(EXAMPLES)
    for path in SHELL
    if path.parent.name == "ablations" or (path.name.startswith("run_") and path.name != "run_tiny_cpu_grpo.sh")
]

# The variables that decide about a run; each test sets its own.
_SWITCHES = {
    *("MODEL_PATH", "TRAIN_FILE", "VAL_FILE", "SFT_TRAIN_FILE", "RUN_DIR", "DATA_DIR"),
    *(
        "DRY_RUN",
        "CHECK",
        "ACCEPT_CHANGES",
        "ENGINE",
        "PAPER",
        "PLATFORM",
        "LOGGERS",
        "VERIFY",
        "SIZES",
        "VERSIONS",
        "VARIANTS",
    ),
    *("MIXTURES", "SEED", "WARM_START_ROWS", "VERL_PLATFORM"),
}


def environment(**settings: object) -> dict[str, str]:
    """This process's environment with these switches and no others; `tooln1` is this environment's."""
    kept = {key: value for key, value in os.environ.items() if key not in _SWITCHES}
    path = f"{Path(sys.executable).parent}{os.pathsep}{kept['PATH']}"
    return {**kept, "PATH": path, "PYTHONPATH": str(ROOT), **{key: str(value) for key, value in settings.items()}}


def run_script(
    script, *arguments: str, timeout: float = 60, cwd: str | Path = "/", **settings: object
) -> subprocess.CompletedProcess:
    """Run a script of examples/, by default from the root of the file system."""
    command = ["bash", str(EXAMPLES / script), *arguments]
    env = environment(**settings)
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=timeout)


def replace_program(folder: Path, program: str, name: str = "tooln1") -> str:
    """Write a program to take the place of another one, and return the PATH that finds it."""
    path = folder / "bin" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(program)
    path.chmod(0o755)
    return f"{path.parent}{os.pathsep}{environment()['PATH']}"


def launched(folder: Path, script, *arguments: str, **settings: object) -> list[list[str]]:
    """Return the arguments of every `tooln1` command that a script launches; with CHECK=1, unless settings differ."""
    path = replace_program(folder, "#!/bin/sh\nprintf '%s\\n' \"$@\" --end\n")
    done = run_script(script, *arguments, **{"CHECK": 1, "PATH": path, **settings})
    assert done.returncode == 0, done.stderr
    return [text.splitlines() for text in done.stdout.split("--end\n")[:-1]]
