"""What checkpoints take on the disk, and whether those that are there fit the run."""

import re
from pathlib import Path

from tooln1.doctor.findings import Findings
from tooln1.doctor.memory import GIB, held_parameters, trained_parameters
from tooln1.doctor.plan import Plan
from tooln1.doctor.shape import ModelShape
from tooln1.errors import UserError
from tooln1.preflight import check_disk


def checkpoint_bytes(shape: ModelShape, plan: Plan) -> int:
    """One checkpoint on the disk, all ranks together: save_contents of model, optimizer and hf_model.

    verl writes the shards in the master type and the Hugging Face model in bfloat16
    (verl/utils/checkpoint/fsdp_checkpoint_manager.py); with several copies of the parameters each is written.
    """
    copies = plan.gpus // plan.shard
    size = 0
    if "model" in plan.save_contents:
        kept = trained_parameters(shape, plan) if plan.lora_only_checkpoint else held_parameters(shape, plan)
        size += copies * kept * plan.master_bytes
    if "optimizer" in plan.save_contents:
        size += copies * trained_parameters(shape, plan) * plan.moment_bytes
    if "hf_model" in plan.save_contents:
        size += held_parameters(shape, plan) * 2
    return size


def kept_checkpoints(plan: Plan, steps: int | None) -> int | None:
    """How many checkpoints lie there at the end; None if the number of steps is not known and nothing is removed."""
    if plan.save_every < 1:
        return 0
    # The old one goes only after the new one is complete (register_checkpoint).
    most = plan.keep + (plan.keep == 1) if plan.keep else None
    written = None if steps is None else -(-steps // plan.save_every)
    known = [count for count in (most, written) if count is not None]
    return min(known) if known else None


def check_checkpoints(findings: Findings, folder: str, shape: ModelShape, plan: Plan, steps: int | None) -> None:
    """Report what the checkpoints take, and a disk that cannot hold them."""
    one, count = checkpoint_bytes(shape, plan), kept_checkpoints(plan, steps)
    if not count:
        if count is None:
            findings.warn(
                "disk",
                f"{one / GIB:.1f} GiB a checkpoint, and none is ever removed; set trainer.max_actor_ckpt_to_keep",
            )
        return
    wanted = f"{count} checkpoints of {one / 1e9:.1f} GB"
    try:
        check_disk(folder, round(one * count / 1e9, 1))
    except UserError as error:
        findings.fault("disk", f"{wanted}: {error}, or lower trainer.max_actor_ckpt_to_keep", here=True)
    else:
        findings.ok("disk", f"{folder}: room for {wanted}")


def check_resume(findings: Findings, folder: Path, plan: Plan) -> None:
    """Report the checkpoint from which the run will go on, and one that another number of GPUs has written."""
    tracker = folder / "latest_checkpointed_iteration.txt"
    if not tracker.is_file():
        return
    step = tracker.read_text().strip()
    actor = folder / f"global_step_{step}" / "actor"
    if not actor.is_dir():
        findings.fault(
            "resume", f"{tracker}: names step {step}, but {actor} is missing; name a step that is there, or remove it"
        )
        return
    worlds = {int(found[1]) for path in actor.iterdir() if (found := re.match(r"\w+_world_size_(\d+)_", path.name))}
    if worlds and worlds != {plan.gpus}:
        findings.fault(
            "resume",
            f"{actor}: written by {min(worlds)} GPUs, the run has {plan.gpus}; take as many, "
            f"another trainer.default_local_dir, or trainer.resume_mode=disable",
        )
    else:
        findings.ok("resume", f"the run will go on from step {step} in {folder}")
