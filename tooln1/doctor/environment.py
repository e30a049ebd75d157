"""What surrounds a run: GPUs, network, shared memory, Ray and the loggers."""

import netrc
import os
import socket
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from tooln1.doctor.findings import Findings
from tooln1.doctor.machine import Gpu, Machine
from tooln1.doctor.memory import GIB
from tooln1.doctor.plan import Plan
from tooln1.preflight import check_shared_memory

# The package that a logger of verl's needs (verl/utils/tracking.py); "" for none. `file` and `console` are verl's own.
LOGGERS = {
    "console": "",
    "file": "",
    "wandb": "wandb",
    "tensorboard": "tensorboard",
    "mlflow": "mlflow",
    "swanlab": "swanlab",
    "clearml": "clearml",
    "trackio": "trackio",
    "vemlp_wandb": "volcengine_ml_platform",
    "rl_insight": "rl_insight",
}
_NEEDED_CAPABILITY = 8.0
_BUSY = 0.9
_PATIENCE = 3.0


def check_gpus(findings: Findings, plan: Plan, machine: Machine) -> None:
    """Report too few, too old, unequal or busy GPUs, and a torch that cannot use them."""
    before, gpus = len(findings.items), machine.gpus
    wanted = f"trainer.n_gpus_per_node={plan.gpus_per_node}"
    if not gpus:
        findings.fault(
            "gpus",
            f"{wanted}: no GPU was found; run on a machine with GPUs, plan for one with --gpus 8 --gpu-memory 80, or "
            f"take tool_n1_grpo_cpu",
        )
        return
    if len(gpus) < plan.gpus_per_node:
        findings.fault(
            "gpus",
            f"{wanted}: {len(gpus)} GPUs are there; set trainer.n_gpus_per_node={len(gpus)}, or check "
            f"CUDA_VISIBLE_DEVICES",
        )
    elif len(gpus) > plan.gpus_per_node and not machine.planned:
        findings.warn("gpus", f"{wanted}: {len(gpus)} GPUs are there; the others would stand idle")
    _check_kind(findings, gpus)
    if not machine.planned and machine.torch_cuda is None:
        findings.fault(
            "gpus", 'torch is built for the CPU only; run pip install -e ".[vllm]" in an environment of its own'
        )
    if len(findings.items) == before:
        findings.ok("gpus", f"{len(gpus)} × {gpus[0].name}, {gpus[0].memory / GIB:.1f} GiB each")


def _check_kind(findings: Findings, gpus: Sequence[Gpu]) -> None:
    if len({gpu.name for gpu in gpus}) > 1:
        findings.warn(
            "gpus",
            f"unequal GPUs ({', '.join(sorted({gpu.name for gpu in gpus}))}): the smallest decides; choose equal ones "
            f"with CUDA_VISIBLE_DEVICES",
        )
    old = [gpu for gpu in gpus if gpu.capability < _NEEDED_CAPABILITY]
    if old:
        findings.fault(
            "gpus",
            f"{old[0].name}: compute capability {old[0].capability}; bfloat16 and flash-attn need "
            f"{_NEEDED_CAPABILITY} (Ampere) or newer",
        )
    busy = [gpu for gpu in gpus if gpu.free < _BUSY * gpu.memory]
    if busy:
        findings.fault(
            "gpus",
            f"{len(busy)} of {len(gpus)} GPUs in use by other processes ({busy[0].free / GIB:.1f} of "
            f"{busy[0].memory / GIB:.1f} GiB free); end them: nvidia-smi names them",
        )


def check_attention(findings: Findings, config: DictConfig) -> None:
    """Report a missing flash-attn, which verl's model takes unless it is told otherwise."""
    part = "model" if "model" in config else "actor_rollout_ref.model"
    key = f"{part}.override_config.attn_implementation"
    chosen = OmegaConf.select(config, key) or "flash_attention_2"
    if chosen == "flash_attention_2" and find_spec("flash_attn") is None:
        findings.fault(
            "versions",
            f'{key}={chosen}: flash-attn is not installed; run pip install -e ".[fsdp]" --no-build-isolation',
            here=True,
        )


def check_network(findings: Findings, plan: Plan, machine: Machine) -> None:
    """Report NCCL settings of the environment that name nothing or slow it down."""
    before = len(findings.items)
    for name in ("NCCL_SOCKET_IFNAME", "GLOO_SOCKET_IFNAME"):
        value = os.environ.get(name)
        if value and machine.interfaces is not None and not _names_interface(value, machine.interfaces):
            findings.fault(
                "nccl",
                f"{name}={value}: no such network interface; expected one of {', '.join(sorted(machine.interfaces))}",
                here=True,
            )
    slow = {"NCCL_P2P_DISABLE": plan.gpus_per_node > 1, "NCCL_IB_DISABLE": plan.nodes > 1}
    for name, matters in slow.items():
        if matters and os.environ.get(name) == "1":
            findings.warn("nccl", f"{name}=1: GPUs talk through slower ways; unset it unless this machine needs it")
    if plan.gpus > 1 and not machine.planned:
        from torch import distributed

        if not distributed.is_nccl_available():
            findings.fault("nccl", "torch was built without NCCL; install its CUDA build")
    if len(findings.items) == before and not machine.planned:
        findings.ok("nccl", "nothing in the environment is in its way")


def _names_interface(value: str, interfaces: frozenset[str]) -> bool:
    """NCCL's grammar: prefixes separated by commas, "=" in front for whole names, "^" to leave out."""
    names = value.lstrip("^=").split(",")
    exact, leaves_out = "=" in value[:2], value.startswith("^")

    def hit(interface: str) -> bool:
        return any(interface == name if exact else interface.startswith(name) for name in names)

    return any(hit(interface) != leaves_out for interface in interfaces)


def check_shared(findings: Findings, config: DictConfig, plan: Plan) -> None:
    """Report a /dev/shm too small for Ray's objects, NCCL, and the weights on their way to the engine."""
    store = OmegaConf.select(config, "ray_kwargs.ray_init.object_store_memory") or 0
    if plan.on_cpu:
        needed = store + (plan.rollout.bucket_bytes if plan.rollout else 0)
    else:
        # NCCL takes some for every pair of GPUs, a data loader's worker its batches.
        needed = store + plan.gpus_per_node * GIB
    before = len(findings.items)
    with findings.checking("shm", here=True):
        check_shared_memory(needed / 1e9)
    if len(findings.items) == before:
        findings.ok("shm", f"/dev/shm has the {needed / 1e9:.1f} GB that Ray, NCCL and the weights need")


def check_ray(findings: Findings, config: DictConfig, plan: Plan) -> None:
    """Report a Ray cluster that is named and does not answer, or that several nodes need and nobody named."""
    address = OmegaConf.select(config, "ray_kwargs.ray_init.address") or os.environ.get("RAY_ADDRESS") or ""
    target = address.removeprefix("ray://")
    host, _, port = target.rpartition(":")
    if host and port.isdigit():
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=_PATIENCE).close()
        except OSError as error:
            findings.fault(
                "ray",
                f"address {address}: nothing answers ({error.strerror or error}); run ray start --head there, or "
                f"correct ray_kwargs.ray_init.address or RAY_ADDRESS",
                here=True,
            )
        else:
            findings.ok("ray", f"{address} answers")
    elif target not in ("", "auto", "local"):
        findings.fault("ray", f"address {address}: expected host:port, auto or local")
    elif plan.nodes > 1 and (target == "local" or not _running_cluster()):
        findings.fault(
            "ray",
            f"trainer.nnodes={plan.nodes}: no Ray cluster is named or runs here; run ray start --head on one node, "
            f"ray start --address=HEAD:6379 on the others, and set RAY_ADDRESS=HEAD:6379",
            here=True,
        )
    else:
        findings.ok("ray", "a running cluster is used" if target == "auto" else "a cluster of the run's own")


def _running_cluster() -> bool:
    # Where `ray start` leaves its address for ray.init() on the same node.
    return (Path(os.environ.get("RAY_TMPDIR", "/tmp")) / "ray" / "ray_current_cluster").is_file()


def check_loggers(findings: Findings, config: DictConfig) -> None:
    """Report loggers that verl does not have, lack their package, or would ask for an account."""
    chosen = OmegaConf.select(config, "trainer.logger")
    before, names = len(findings.items), [chosen] if isinstance(chosen, str) else list(chosen or [])
    for name in names:
        package = LOGGERS.get(name)
        if package is None:
            findings.fault("loggers", f"trainer.logger: {name!r} is none of verl's; expected {', '.join(LOGGERS)}")
        elif package and find_spec(package) is None:
            findings.fault("loggers", f"trainer.logger: {name} needs a package; run pip install {package}", here=True)
    if "wandb" in names and not _has_wandb_account():
        findings.warn(
            "loggers",
            "trainer.logger: wandb has no account here: tooln1 train keeps it offline, verl's own command would stop "
            "and ask; set WANDB_API_KEY, run wandb login, or set WANDB_MODE=offline",
        )
    if len(findings.items) == before:
        findings.ok("loggers", ", ".join(names) or "none")


def _has_wandb_account() -> bool:
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_MODE") in ("offline", "disabled", "dryrun"):
        return True
    try:
        return netrc.netrc(os.environ.get("NETRC")).authenticators("api.wandb.ai") is not None
    except (OSError, netrc.NetrcParseError):
        return False
