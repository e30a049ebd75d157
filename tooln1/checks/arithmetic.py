"""The arithmetic of a run that verl, vLLM and FSDP leave to assertions minutes after the start.

A comment beside a rule names the place in verl 0.9.1 that would fail.
"""

from collections.abc import Iterator

from tooln1.checks.findings import Finding, fault, ok, warning
from tooln1.checks.memory_estimate import trained_parameters
from tooln1.checks.upcoming_run import UpcomingRun
from tooln1.errors import UserError

ACTOR, ROLLOUT, REFERENCE = "actor_rollout_ref.actor", "actor_rollout_ref.rollout", "actor_rollout_ref.ref"

_MAX_LORA_RANK = 512


def check_arithmetic(run: UpcomingRun) -> Iterator[Finding]:
    """Settings that do not add up."""
    for rule in (_shards,) if run.is_sft else _GRPO_RULES:
        yield from rule(run)
    yield ok(
        f"batches, lengths and parallel sizes divide: {run.prompts} prompts × {run.responses} responses over "
        f"{run.ranks} ranks"
    )


def check_model_sizes(run: UpcomingRun) -> Iterator[Finding]:
    """Fewer positions than tokens, attention heads that do not divide, and adapters on nothing."""
    if run.positions is not None and run.positions < run.length:
        yield fault(
            f"{run.model_name}: max_position_embeddings is {run.positions:g}, fewer than the {run.length} tokens of "
            f"the longest sequence; lower data.max_prompt_length or data.max_response_length (for SFT "
            f"data.max_length), or take another model"
        )
    shape = run.shape
    if shape is None:
        return
    size = run.tensor_parallel if run.rollout else 1
    key = f"{ROLLOUT}.tensor_model_parallel_size={size}"
    # vLLM, ModelConfig.verify_with_parallel_config; its attention layers for the key-value heads.
    if shape.heads % size:
        yield fault(f"{key}: does not divide the model's {shape.heads} heads; {_divisors(shape.heads)}")
    elif shape.kv_heads % size and size % shape.kv_heads:
        yield fault(
            f"{key}: neither divides the model's {shape.kv_heads} key-value heads nor is a multiple of them; "
            f"{_divisors(shape.kv_heads)}"
        )
    if shape.heads % run.sequence_parallel:  # verl/models/transformers/monkey_patch.py
        yield fault(
            f"{ACTOR}.ulysses_sequence_parallel_size={run.sequence_parallel}: does not divide the model's "
            f"{shape.heads} heads; {_divisors(shape.heads)}"
        )
    try:
        trained_parameters(run)
    except UserError as error:
        run.shape = None  # nothing can be estimated
        yield fault(error)


def _divisors(count: int) -> str:
    return f"take one of {', '.join(str(number) for number in range(1, min(count, 16) + 1) if count % number == 0)}"


def _shards(run: UpcomingRun) -> Iterator[Finding]:
    # torch's init_device_mesh, called by verl/workers/engine/fsdp/utils.py.
    gpus = f"does not divide {run.total_gpus} GPUs; {_divisors(run.total_gpus)}"
    if run.total_gpus % run.shard:
        yield fault(f"fsdp_config.fsdp_size={run.shard}: {gpus}")
    if run.total_gpus % run.sequence_parallel:
        yield fault(f"ulysses_sequence_parallel_size={run.sequence_parallel}: {gpus}")


def _replicas(run: UpcomingRun) -> Iterator[Finding]:
    # verl/workers/engine_workers.py, init_model.
    if run.total_gpus % run.replica_gpus:
        yield fault(
            f"{ROLLOUT}.tensor_model_parallel_size={run.tensor_parallel}: a replica takes "
            f"{run.replica_gpus} GPUs (tensor × data × pipeline parallel), which do not divide the run's "
            f"{run.total_gpus} (trainer.nnodes × trainer.n_gpus_per_node); {_divisors(run.total_gpus)}"
        )
    if not 0 < run.memory_share < 1:
        yield fault(f"{ROLLOUT}.gpu_memory_utilization={run.memory_share:g}: expected a share, such as 0.6")


def _batches(run: UpcomingRun) -> Iterator[Finding]:
    key = f"{ACTOR}.ppo_mini_batch_size={run.mini_batch}"
    # verl/workers/engine_workers.py, train_mini_batch.
    if run.mini_batch * run.responses % run.ranks:
        step = next(count for count in range(1, run.ranks + 1) if count * run.responses % run.ranks == 0)
        yield fault(
            f"{key}: {run.mini_batch} prompts × {run.responses} responses do not divide among {run.ranks} "
            f"data-parallel ranks; take a multiple of {step}"
        )
    if run.prompts < run.mini_batch:
        yield fault(
            f"{key}: more than data.train_batch_size={run.prompts}; verl would fill the difference with empty "
            f"sequences; lower it to {run.prompts}"
        )
    elif run.prompts % run.mini_batch:  # verl/trainer/ppo/v1/trainer_base.py, _balance_batch
        yield fault(
            f"data.train_batch_size={run.prompts}: no multiple of {key}; verl would fill the last mini-batch with "
            f"empty sequences; make it one"
        )
    if run.responses < 2 and run.read("algorithm.adv_estimator") == "grpo":
        yield fault(f"{ROLLOUT}.n={run.responses}: GRPO compares the responses to a prompt; expected 2 or more")


def _micro_batches(run: UpcomingRun) -> Iterator[Finding]:
    if run.read(f"{ACTOR}.use_dynamic_bsz"):
        for key in (
            f"{ACTOR}.ppo_max_token_len_per_gpu",
            f"{ROLLOUT}.log_prob_max_token_len_per_gpu",
            f"{REFERENCE}.log_prob_max_token_len_per_gpu",
        ):
            # verl/utils/seqlen_balancing.py, rearrange_micro_batches.
            if run.read(key) * run.sequence_parallel < run.length:
                yield fault(
                    f"{key}={run.read(key)}: a micro-batch must hold the longest sequence, data.max_prompt_length + "
                    f"data.max_response_length = {run.length} tokens; raise it to "
                    f"{-(-run.length // run.sequence_parallel)}"
                )
        return
    # verl/workers/engine/utils.py, prepare_micro_batches.
    for key, count in (
        (f"{ACTOR}.ppo_micro_batch_size_per_gpu", run.mini_batch * run.responses // run.ranks),
        (f"{ROLLOUT}.log_prob_micro_batch_size_per_gpu", run.prompts * run.responses // run.ranks),
        (f"{REFERENCE}.log_prob_micro_batch_size_per_gpu", run.prompts * run.responses // run.ranks),
    ):
        size = run.read(key)
        if size is None:
            yield fault(f"{key}=null: expected a number, or {ACTOR}.use_dynamic_bsz=true")
        elif count % size:
            yield fault(f"{key}={size}: does not divide the {count} sequences of a rank; {_divisors(count)}")


def _learning(run: UpcomingRun) -> Iterator[Finding]:
    if run.temperature <= 0:
        yield fault(
            f"{ROLLOUT}.temperature={run.temperature:g}: all responses to a prompt would be the same, and GRPO would "
            f"learn nothing; expected more than 0, such as 0.7"
        )
    rate = run.optim.get("lr")
    if not isinstance(rate, (int, float)) or rate <= 0:
        yield fault(f"{ACTOR}.optim.lr={rate}: expected more than 0, such as 1e-6")
    # verl/workers/rollout/vllm_rollout/utils.py, get_vllm_max_lora_rank, which sees no merged adapters.
    merged = (run.model.get("lora") or {}).get("merge")
    if run.lora_rank > _MAX_LORA_RANK and run.rollout.name == "vllm" and not merged:
        yield fault(f"actor_rollout_ref.model.lora_rank={run.lora_rank}: vLLM takes at most {_MAX_LORA_RANK}; lower it")


def _engine(run: UpcomingRun) -> Iterator[Finding]:
    if run.max_model_len is not None and run.max_model_len < run.length:
        yield fault(
            f"{ROLLOUT}.max_model_len={run.max_model_len}: responses would end early: "
            f"data.max_prompt_length={run.prompt_length} and data.max_response_length={run.response_length} make "
            f"{run.length}; raise it or lower them"
        )
    # verl/trainer/ppo/v1/trainer_base.py, _compute_old_log_prob.
    if not run.old_log_probs and not run.rollout.calculate_log_probs:
        yield fault(
            f"{ROLLOUT}.calculate_log_probs=false: algorithm.rollout_correction.bypass_mode takes the engine's "
            f"log-probabilities; set it to true"
        )
    # vLLM refuses to sleep then.
    if run.rollout.free_cache_engine and not run.rollout.get("enable_sleep_mode", True):
        yield fault(f"{ROLLOUT}.enable_sleep_mode=false: free_cache_engine=true needs it; set both alike")


def _filter_groups(run: UpcomingRun) -> Iterator[Finding]:
    # verl/trainer/ppo/v1/trainer_base.py, _build_replay_buffer.
    sampler = run.read("trainer.v1.sampler.custom_sampler.path")
    if sampler and run.read("algorithm.filter_groups.enable"):
        yield fault(
            f"algorithm.filter_groups.enable=true: verl does not filter with a sampler of your own "
            f"(trainer.v1.sampler.custom_sampler.path={sampler}); unset one of the two"
        )


def _schedule(run: UpcomingRun) -> Iterator[Finding]:
    save, test = run.save_every, run.test_every
    if save < 1:
        yield fault(f"trainer.save_freq={save}: no checkpoint would be written; expected 1 or more")
    if test < 1:
        yield warning(f"trainer.test_freq={test}: no validation during training; expected 1 or more")
    elif save > 0 and test % save:
        yield warning(
            f"trainer.test_freq={test}: no multiple of trainer.save_freq={save}; a step that is validated without a "
            f"checkpoint cannot become the best one"
        )


_GRPO_RULES = (_shards, _replicas, _batches, _micro_batches, _learning, _engine, _filter_groups, _schedule)
