"""The arithmetic of a run that verl, vLLM and FSDP leave to assertions minutes after the start.

Every rule is a generator of findings for one plan; the places in verl 0.9.1 that would fail are named in comments.
"""

from collections.abc import Callable, Iterator

from omegaconf import DictConfig, OmegaConf

from tooln1.doctor.findings import FAULT, WARNING, Findings
from tooln1.doctor.plan import Plan
from tooln1.doctor.shape import ModelShape

ACTOR, ROLLOUT, REFERENCE = "actor_rollout_ref.actor", "actor_rollout_ref.rollout", "actor_rollout_ref.ref"

Problem = tuple[str, str]

_MAX_RANK = 512


def check_rules(findings: Findings, config: DictConfig, plan: Plan) -> None:
    """Report what does not add up; one line says so if everything does."""
    before = len(findings.items)
    for rule in RULES if plan.rollout else (_shards,):
        for level, text in rule(config, plan):
            (findings.fault if level == FAULT else findings.warn)("settings", text)
    if len(findings.items) == before:
        findings.ok(
            "settings",
            f"batches, lengths and parallel sizes divide: {plan.prompts} prompts × {plan.replies} replies over "
            f"{plan.ranks} ranks",
        )


def check_heads(findings: Findings, shape: ModelShape, plan: Plan) -> None:
    """Report attention heads that cannot be shared out."""
    size = plan.rollout.tensor_parallel if plan.rollout else 1
    key = f"{ROLLOUT}.tensor_model_parallel_size={size}"
    # vLLM, ModelConfig.verify_with_parallel_config; and its attention layers for the key-value heads.
    if shape.heads % size:
        findings.fault("settings", f"{key}: does not divide the model's {shape.heads} heads; {_divisors(shape.heads)}")
    elif shape.kv_heads % size and size % shape.kv_heads:
        findings.fault(
            "settings",
            f"{key}: neither divides the model's {shape.kv_heads} key-value heads nor is a multiple of them; "
            f"{_divisors(shape.kv_heads)}",
        )
    parallel = plan.sequence_parallel
    if shape.heads % parallel:  # verl/models/transformers/monkey_patch.py
        findings.fault(
            "settings",
            f"{ACTOR}.ulysses_sequence_parallel_size={parallel}: does not divide the model's {shape.heads} heads; "
            f"{_divisors(shape.heads)}",
        )


def _divisors(count: int) -> str:
    return f"take one of {', '.join(str(number) for number in range(1, min(count, 16) + 1) if count % number == 0)}"


def _replicas(config: DictConfig, plan: Plan) -> Iterator[Problem]:
    # verl/workers/engine_workers.py, init_model.
    if plan.gpus % plan.rollout.world:
        yield (
            FAULT,
            f"{ROLLOUT}.tensor_model_parallel_size={plan.rollout.tensor_parallel}: a replica takes "
            f"{plan.rollout.world} GPUs (tensor × data × pipeline parallel), which do not divide the run's {plan.gpus} "
            f"(trainer.nnodes × trainer.n_gpus_per_node); {_divisors(plan.gpus)}",
        )
    share = plan.rollout.memory_share
    if not 0 < share < 1:
        yield FAULT, f"{ROLLOUT}.gpu_memory_utilization={share:g}: expected a share between 0 and 1, such as 0.6"


def _shards(config: DictConfig, plan: Plan) -> Iterator[Problem]:
    # torch's init_device_mesh, out of verl/workers/engine/fsdp/utils.py.
    if plan.gpus % plan.shard:
        yield FAULT, f"fsdp_config.fsdp_size={plan.shard}: does not divide {plan.gpus} GPUs; {_divisors(plan.gpus)}"
    if plan.gpus % plan.sequence_parallel:
        yield (
            FAULT,
            f"ulysses_sequence_parallel_size={plan.sequence_parallel}: does not divide {plan.gpus} GPUs; "
            f"{_divisors(plan.gpus)}",
        )


def _batches(config: DictConfig, plan: Plan) -> Iterator[Problem]:
    replies = plan.mini_batch * plan.replies
    # verl/workers/engine_workers.py, train_mini_batch.
    if replies % plan.ranks:
        yield (
            FAULT,
            f"{ACTOR}.ppo_mini_batch_size={plan.mini_batch}: {plan.mini_batch} prompts × {plan.replies} replies do "
            f"not divide among {plan.ranks} data-parallel ranks; take a multiple of "
            f"{_smallest_multiple(plan.ranks, plan.replies)}",
        )
    if plan.prompts < plan.mini_batch:
        yield (
            FAULT,
            f"{ACTOR}.ppo_mini_batch_size={plan.mini_batch}: more than data.train_batch_size={plan.prompts}; "
            f"verl would fill the difference with empty sequences; lower it to {plan.prompts}",
        )
    elif plan.prompts % plan.mini_batch:  # verl/trainer/ppo/v1/trainer_base.py, _balance_batch
        yield (
            FAULT,
            f"data.train_batch_size={plan.prompts}: no multiple of {ACTOR}.ppo_mini_batch_size={plan.mini_batch}; "
            f"verl would fill the last mini-batch with empty sequences; make it one",
        )
    if plan.replies < 2 and OmegaConf.select(config, "algorithm.adv_estimator") == "grpo":
        yield FAULT, f"{ROLLOUT}.n={plan.replies}: GRPO compares the replies to a prompt; expected 2 or more"


def _smallest_multiple(ranks: int, replies: int) -> int:
    return next(count for count in range(1, ranks + 1) if count * replies % ranks == 0)


def _micro_batches(config: DictConfig, plan: Plan) -> Iterator[Problem]:
    read = OmegaConf.select
    if read(config, f"{ACTOR}.use_dynamic_bsz"):
        for key in (
            f"{ACTOR}.ppo_max_token_len_per_gpu",
            f"{ROLLOUT}.log_prob_max_token_len_per_gpu",
            f"{REFERENCE}.log_prob_max_token_len_per_gpu",
        ):
            # verl/utils/seqlen_balancing.py, rearrange_micro_batches.
            budget = read(config, key) * plan.sequence_parallel
            if budget < plan.length:
                yield (
                    FAULT,
                    f"{key}={read(config, key)}: a micro-batch must hold the longest sequence, data.max_prompt_length "
                    f"+ data.max_response_length = {plan.length} tokens; raise it to "
                    f"{-(-plan.length // plan.sequence_parallel)}",
                )
        return
    # verl/workers/engine/utils.py, prepare_micro_batches.
    for key, count in (
        (f"{ACTOR}.ppo_micro_batch_size_per_gpu", plan.mini_batch * plan.replies // plan.ranks),
        (f"{ROLLOUT}.log_prob_micro_batch_size_per_gpu", plan.prompts * plan.replies // plan.ranks),
        (f"{REFERENCE}.log_prob_micro_batch_size_per_gpu", plan.prompts * plan.replies // plan.ranks),
    ):
        size = read(config, key)
        if size is None:
            yield FAULT, f"{key}=null: expected a number, or {ACTOR}.use_dynamic_bsz=true"
        elif count % size:
            yield FAULT, f"{key}={size}: does not divide the {count} sequences of a rank; {_divisors(count)}"


def _lengths(config: DictConfig, plan: Plan) -> Iterator[Problem]:
    limit = plan.rollout.max_model_len
    if limit is not None and limit < plan.length:
        yield (
            FAULT,
            f"{ROLLOUT}.max_model_len={limit}: replies would end early: data.max_prompt_length={plan.prompt_length} "
            f"and data.max_response_length={plan.response_length} make {plan.length}; raise it or lower them",
        )


def _sampling(config: DictConfig, plan: Plan) -> Iterator[Problem]:
    if plan.temperature <= 0:
        yield (
            FAULT,
            f"{ROLLOUT}.temperature={plan.temperature:g}: all replies to a prompt would be the same, and GRPO would "
            f"learn nothing; expected more than 0, such as 0.7",
        )
    rate = OmegaConf.select(config, f"{ACTOR}.optim.lr")
    if not isinstance(rate, (int, float)) or rate <= 0:
        yield FAULT, f"{ACTOR}.optim.lr={rate}: expected more than 0, such as 1e-6"
    # verl/trainer/ppo/v1/trainer_base.py, _compute_old_log_prob.
    if not plan.old_log_probs and not OmegaConf.select(config, f"{ROLLOUT}.calculate_log_probs"):
        yield (
            FAULT,
            f"{ROLLOUT}.calculate_log_probs=false: algorithm.rollout_correction.bypass_mode takes the engine's "
            f"log-probabilities; set it to true",
        )
    # vLLM refuses to sleep then.
    if plan.rollout.sleeps and not OmegaConf.select(config, f"{ROLLOUT}.enable_sleep_mode", default=True):
        yield FAULT, f"{ROLLOUT}.enable_sleep_mode=false: free_cache_engine=true needs it; set both alike"


def _adapters(config: DictConfig, plan: Plan) -> Iterator[Problem]:
    # verl/workers/rollout/vllm_rollout/utils.py, get_vllm_max_lora_rank.
    if plan.lora_rank > _MAX_RANK:
        yield FAULT, f"actor_rollout_ref.model.lora_rank={plan.lora_rank}: vLLM takes at most {_MAX_RANK}; lower it"


def _checkpoints(config: DictConfig, plan: Plan) -> Iterator[Problem]:
    if plan.save_every < 1:
        yield WARNING, f"trainer.save_freq={plan.save_every}: no checkpoint will be written; expected 1 or more"
    if (OmegaConf.select(config, "trainer.test_freq") or -1) < 1:
        yield WARNING, "trainer.test_freq: no validation during training; expected 1 or more"


RULES: tuple[Callable[[DictConfig, Plan], Iterator[Problem]], ...] = (
    _replicas,
    _shards,
    _batches,
    _micro_batches,
    _lengths,
    _sampling,
    _adapters,
    _checkpoints,
)
