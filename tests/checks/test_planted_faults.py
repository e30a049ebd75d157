"""Every planted fault is found, with one clear line, and nothing else is called a fault.

To be quick, faults that do not hide each other are planted together. Faults that verl or torch find:
test_planted_faults_engine.py.
"""

import pytest
from planted_faults import (
    ACTOR,
    CPU,
    MODEL,
    ROLLOUT,
    Fault,
    assert_exactly,
    checkpoint_of_two_gpus,
    closed_port,
    cut_weights,
    drop_prompt,
    folder_that_is_a_file,
    good_run,
    lengthen,
    of_model,
    remove_template,
    rows,
    setting,
    sizes_of_14b,
    spoil_truth,
    yaml_with_a_slip,
)

from tooln1.checks import checklist

ENGINES = ("check_validation", "check_reward", "check_gpus", "check_network")  # import verl or torch
CHECKS = [check for check in checklist.EVERY if check.find.__name__ not in ENGINES]

ROUNDS = {
    "unknown setting": (
        CPU,
        Fault(r"trainer\.sav_freq.*did you mean trainer\.save_freq", setting("trainer.sav_freq", 5)),
    ),
    "unknown recipe": (
        "tool_n1_gpro",
        Fault(r"tool_n1_gpro: no such configuration; did you mean tool_n1_grpo\?"),
    ),
    "settings": (
        CPU,
        Fault(r"settings +logger telegraph: unknown; expected", setting("trainer.logger", "[console,telegraph]")),
        Fault(r"trainer\.sav_freq: no such setting, .*; did you mean save_freq\?", yaml_with_a_slip),
        Fault(r"data\.shufle: no such setting, .*; did you mean shuffle\?", setting("+data.shufle", "true")),
        Fault(
            r"train_batch_size=400: no multiple of \S*ppo_mini_batch_size=3",
            setting(f"{ACTOR}.ppo_mini_batch_size", 3),
            setting("data.train_batch_size", 400),
        ),
        Fault(r"data\.train_files: 300 rows, fewer than the data\.train_batch_size=400 of one batch"),
        Fault(r"temperature=0: all responses to a prompt would be the same", setting(f"{ROLLOUT}.temperature", 0)),
        Fault(r"optim\.lr=0: expected more than 0", setting(f"{ACTOR}.optim.lr", 0)),
        Fault(r"calculate_log_probs=false: .*bypass_mode takes", setting(f"{ROLLOUT}.calculate_log_probs", "false")),
        Fault(r"gpu_memory_utilization=1\.5: expected a share", setting(f"{ROLLOUT}.gpu_memory_utilization", 1.5)),
        Fault(r"max_model_len=300: responses would end early: .* make 416", setting(f"{ROLLOUT}.max_model_len", 300)),
        Fault(
            r"enable_sleep_mode=false: free_cache_engine=true needs", setting(f"{ROLLOUT}.free_cache_engine", "true")
        ),
        Fault(
            r"ref\.log_prob_max_token_len_per_gpu=100: .* = 416 tokens; raise it to 416",
            setting("actor_rollout_ref.ref.log_prob_max_token_len_per_gpu", 100),
        ),
        Fault(r"trainer\.save_freq=-1: no checkpoint would be written", setting("trainer.save_freq", -1)),
    ),
    "surroundings": (
        CPU,
        Fault(r"/dev/shm: .* needed; start the container", setting("ray_kwargs.ray_init.object_store_memory", 10**15)),
        Fault(r"address 127\.0\.0\.1:\d+: nothing answers .*; run ray start --head", closed_port),
        Fault(r"checkpoints: .*file is a file; expected a folder", folder_that_is_a_file),
        Fault(r"data\.val_files: \S*none\.parquet: no such file", setting("data.val_files", "none.parquet")),
        Fault(r"row 3: reward_model\.ground_truth: expected a JSON list", rows("data.train_files", spoil_truth)),
        Fault(r"model\.safetensors: incomplete or no safetensors file", of_model(cut_weights)),
    ),
    "prompts": (
        CPU,
        Fault(
            r"1 of 300 prompts too long .* would stop the run; set data\.filter_overlong_prompts=true",
            rows("data.train_files", lengthen),
            setting("data.filter_overlong_prompts", "false"),
        ),
        Fault(r"data\.train_files: 299 rows that fit, fewer than .*=300 of one", setting("data.train_batch_size", 300)),
        Fault(r"global_step_4: saved by 2 ranks, this run has 1", checkpoint_of_two_gpus),
    ),
    "template and adapters": (
        CPU,
        Fault(r"the tokenizer has no chat template; take an instruction-tuned model", of_model(remove_template)),
        Fault(
            r"target_modules=\['query'\]: no linear layer has such a name",
            setting(f"{MODEL}.lora_rank", 8),
            setting(f"{MODEL}.target_modules", "[query]"),
        ),
    ),
    "columns, positions, memory and disk": (
        CPU,
        Fault(r"data\.val_files: .*: column prompt: missing; expected", rows("data.val_files", drop_prompt)),
        Fault(r"memory +\S+ GB available .*, \d+\.\d GB needed", of_model(sizes_of_14b)),
        Fault(
            r"disk .* GB needed, for 64 checkpoints of 177\.2 GB",
            setting("trainer.max_actor_ckpt_to_keep", "null"),
            setting("trainer.save_freq", 1),
        ),
        Fault(
            r"max_position_embeddings is \d+, fewer than the 40096 tokens",
            setting("data.max_prompt_length", 40000),
            setting(f"{ROLLOUT}.max_model_len", 40096),
            setting(f"{ACTOR}.ppo_max_token_len_per_gpu", 50000),
        ),
    ),
}


@pytest.mark.parametrize("name", ROUNDS)
def test_planted_faults_are_found_with_one_line_each(name, model, tiny_data, tmp_path, monkeypatch):
    recipe, *faults = ROUNDS[name]
    run = good_run(recipe, tmp_path, model, tiny_data, monkeypatch)
    for fault in faults:
        for plant in fault.plants:
            plant(run)
    assert_exactly(run.faults(checks=CHECKS), [fault.line for fault in faults])


def test_a_good_run_has_no_fault(model, tiny_data, tmp_path, monkeypatch):
    assert good_run(CPU, tmp_path, model, tiny_data, monkeypatch).faults(checks=CHECKS) == []
