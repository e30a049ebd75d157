"""The hardware, looked at in one place: the checks read a Machine, and a planned one stands for a machine elsewhere."""

import os
import subprocess
from dataclasses import dataclass

import psutil

from tooln1.doctor.memory import GIB
from tooln1.errors import UserError
from tooln1.preflight import available_memory

_QUERY = "index,uuid,name,memory.total,memory.free,compute_cap"


@dataclass(frozen=True)
class Gpu:
    """One GPU; memory in bytes."""

    name: str
    memory: int
    free: int
    capability: float  # such as 9.0; flash-attn needs 8.0


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What the checks want to know of a machine; memory in bytes. None: not known, and not checked."""

    gpus: tuple[Gpu, ...]
    memory: int | None
    interfaces: frozenset[str] | None
    torch_cuda: str | None  # the CUDA that torch was built for; None without, or where it does not matter
    planned: bool = False


def planned_machine(gpus: int, gpu_memory: float) -> Machine:
    """A machine that is not at hand.

    Args:
        gpus: of one node.
        gpu_memory: of one GPU, in GiB.

    Raises:
        UserError: a number that is none of such a thing.
    """
    if gpus < 1 or gpu_memory <= 0:
        raise UserError(f"--gpus {gpus} --gpu-memory {gpu_memory:g}: expected 1 or more GPUs of more than 0 GiB each")
    size = round(gpu_memory * GIB)
    return Machine(
        gpus=(Gpu("planned", size, size, 8.0),) * gpus,
        memory=None,
        interfaces=None,
        torch_cuda=None,
        planned=True,
    )


def probe_machine() -> Machine:
    """This machine."""
    import torch

    return Machine(
        gpus=_visible(_nvidia_smi()),
        memory=available_memory()[0],
        interfaces=frozenset(psutil.net_if_addrs()),
        torch_cuda=torch.version.cuda,
    )


def _nvidia_smi() -> list[tuple[str, str, Gpu]]:
    """(index, UUID, GPU) of every GPU that the driver shows; none without one."""
    # Not torch: it would leave a context of half a GB on every GPU, and its CPU build sees none.
    try:
        done = subprocess.run(
            ["nvidia-smi", f"--query-gpu={_QUERY}", "--format=csv,noheader,nounits"],
            capture_output=True,
            text=True,
            timeout=30,
        )
    except (OSError, subprocess.TimeoutExpired):
        return []
    return parse_nvidia_smi(done.stdout) if done.returncode == 0 else []


def parse_nvidia_smi(text: str) -> list[tuple[str, str, Gpu]]:
    """(index, UUID, GPU) of every line of nvidia-smi's answer, whose memory is in MiB."""
    found = []
    for line in text.splitlines():
        fields = [field.strip() for field in line.split(",")]
        if len(fields) == 6:
            index, uuid, name, total, free, capability = fields
            found.append((index, uuid, Gpu(name, int(total) << 20, int(free) << 20, float(capability))))
    return found


def _visible(gpus: list[tuple[str, str, Gpu]]) -> tuple[Gpu, ...]:
    wanted = os.environ.get("CUDA_VISIBLE_DEVICES")
    if wanted is None:
        return tuple(gpu for *_, gpu in gpus)
    chosen = []
    for name in filter(None, (part.strip() for part in wanted.split(","))):
        matching = [gpu for index, uuid, gpu in gpus if name == index or uuid.startswith(name)]
        if not matching:  # CUDA ends the list at the first that is not there
            break
        chosen.append(matching[0])
    return tuple(chosen)
