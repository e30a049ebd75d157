"""Writes verl-0.9.1.patch, the reward as a change to verl: the module, a branch of verl's dispatcher, and a test.

python recipe/tool_n1/upstream/make_patch.py            write the patch for the installed verl (a second)
python recipe/tool_n1/upstream/make_patch.py --check    apply the committed patch to a copy of the installed verl, and
"""

import difflib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
PATCH = HERE / "verl-0.9.1.patch"
# Where verl keeps each file, and where it is here.
NEW_FILES = {
    "tests/utils/reward_score/test_toolcall_on_cpu.py": HERE / "test_toolcall_on_cpu.py",
    "verl/utils/reward_score/toolcall.py": HERE.parents[2] / "tooln1" / "reward_score" / "toolcall.py",
}
DISPATCHER = "verl/utils/reward_score/__init__.py"
LAST_BRANCH = """
    else:
        raise NotImplementedError(f"Reward function is not implemented for {data_source=}")
"""
BRANCH = """    elif data_source.startswith("toolcall/"):
        from . import toolcall

        res = toolcall.compute_score(data_source, solution_str, ground_truth, extra_info, **kwargs)
"""


def installed_verl() -> Path:
    """Return the folder that holds the package."""
    return Path(importlib.util.find_spec("verl").submodule_search_locations[0]).parent


def make_patch() -> str:
    """Return the patch for the installed verl, in git's format."""
    dispatcher = (installed_verl() / DISPATCHER).read_text(encoding="utf-8")
    if dispatcher.count(LAST_BRANCH) != 1:
        sys.exit(f"{installed_verl() / DISPATCHER}: not verl 0.9.1's; install the pinned verl")
    parts = [_diff(DISPATCHER, dispatcher, dispatcher.replace(LAST_BRANCH, BRANCH + LAST_BRANCH))]
    parts += [_diff(name, "", path.read_text(encoding="utf-8")) for name, path in NEW_FILES.items()]
    return "".join(sorted(parts))


def _diff(name: str, old: str, new: str) -> str:
    head = f"diff --git a/{name} b/{name}\n" + ("" if old else "new file mode 100644\n")
    source = f"a/{name}" if old else "/dev/null"
    return head + "".join(difflib.unified_diff(old.splitlines(True), new.splitlines(True), source, f"b/{name}"))


def check() -> int:
    """Return the exit code of the patch's own test in a patched verl; 1 if the patch is out of date."""
    if PATCH.read_text(encoding="utf-8") != make_patch():
        print(f"{PATCH} is out of date; run {Path(__file__).name}", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(installed_verl() / "verl", Path(folder, "verl"))
        subprocess.run(["git", "apply", "--whitespace=error", str(PATCH)], cwd=folder, check=True)
        environment = {**os.environ, "PYTHONPATH": folder, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
        command = [sys.executable, "-m", "pytest", "-q", "--import-mode=importlib", "-p", "no:cacheprovider"]
        return subprocess.run([*command, next(iter(NEW_FILES))], cwd=folder, env=environment).returncode


if __name__ == "__main__":
    if sys.argv[1:] == ["--check"]:
        sys.exit(check())
    PATCH.write_text(make_patch(), encoding="utf-8")
