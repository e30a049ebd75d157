"""The reward as a change to verl: the module, a branch in `default_compute_score`, and a test, as one patch.

`tooln1 upstream --verl DIR` reads the dispatcher of that verl, so the patch fits it, and changes nothing there.
"""

import difflib
from pathlib import Path

from tooln1.errors import UserError
from tooln1.files import atomic_path

MODULE = "verl/utils/reward_score/toolcall.py"
DISPATCHER = "verl/utils/reward_score/__init__.py"
TEST = "tests/utils/reward_score/test_toolcall_on_cpu.py"
_PACKAGE = Path(__file__).resolve().parent.parent

# The branch goes before the one that gives up.
_LAST_BRANCH = """\
    else:
        raise NotImplementedError(f"Reward function is not implemented for {data_source=}")
"""
_BRANCH = """\
    elif data_source.startswith("toolcall/"):
        from . import toolcall

        res = toolcall.compute_score(data_source, solution_str, ground_truth, extra_info, **kwargs)
"""


def write_patch(verl: Path, output: Path) -> str:
    """Write the patch for the verl in `verl` to `output`, and return how to apply it.

    Args:
        verl: A checkout of verl, a site-packages folder that holds verl, or the folder of the package itself.
        output: The patch, in git's format, with paths from the folder that holds the package.

    Raises:
        UserError: No verl is there, it has the branch already, or its dispatcher is written another way.
    """
    root = _root(verl)
    patch = make_patch((root / DISPATCHER).read_text(encoding="utf-8"), root / DISPATCHER)
    with atomic_path(output) as temporary:
        temporary.write_text(patch, encoding="utf-8")
    return f"{output} written; apply it with: cd {root} && patch -p1 < {output.resolve()}"


def _root(verl: Path) -> Path:
    for root in (verl, verl.absolute().parent):
        if (root / DISPATCHER).is_file() and (root == verl or verl.name == "verl"):
            return root
    raise UserError(f"{verl}: no {DISPATCHER} in it; give a checkout of verl or the site-packages that hold it")


def make_patch(dispatcher: str, path: Path | str = DISPATCHER) -> str:
    """The patch for a verl whose `verl/utils/reward_score/__init__.py` holds the text `dispatcher`.

    Raises:
        UserError: The text, found at `path`, has the branch already, or is not as expected.
    """
    if '"toolcall/' in dispatcher:
        raise UserError(f"{path}: has a branch for toolcall/ already; nothing is left to patch")
    if dispatcher.count(_LAST_BRANCH) != 1 or "**kwargs" not in dispatcher:
        raise UserError(f"{path}: default_compute_score is not as in verl 0.9.1; give a verl of about that version")
    changed = dispatcher.replace(f"\n{_LAST_BRANCH}", f"{_BRANCH}\n{_LAST_BRANCH}")
    module = (_PACKAGE / "reward_score" / "toolcall.py").read_text(encoding="utf-8")
    test = (_PACKAGE / "upstream" / Path(TEST).name).read_text(encoding="utf-8")
    return "".join([_diff(TEST, None, test), _diff(DISPATCHER, dispatcher, changed), _diff(MODULE, None, module)])


def _diff(path: str, old: str | None, new: str) -> str:
    """One file's part of a patch, as git writes it; `old` is None for a new file."""
    head = f"diff --git a/{path} b/{path}\n" + ("new file mode 100644\n" if old is None else "")
    source = "/dev/null" if old is None else f"a/{path}"
    lines = difflib.unified_diff((old or "").splitlines(True), new.splitlines(True), source, f"b/{path}")
    return head + "".join(lines)
