"""Writes a run as verl leaves it: metrics, dumps, configuration, checkpoints; small, seeded, with two data sources."""

import json
import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from omegaconf import OmegaConf

from tooln1.config import compose, quote
from tooln1.prompt import format_calls, load_template
from tooln1.reward_score.toolcall import compute_score
from tooln1.run_folder import RunFolder, checkpoint_folder
from tooln1.tiny.rows import careful_response, draw_kind, hasty_response, prompt_messages
from tooln1.tiny.world import World

GROUPS, ROLLOUTS, TEST_FREQ = 6, 4, 4
RECIPE = "tool_n1_grpo_cpu"
SOURCES = ("toolcall/xlam", "toolcall/toolace_single_turn")
PHASES = ("gen", "ref", "old_log_prob", "adv", "update_actor", "update_weights")


def write_run(path: Path, seed: int = 0, steps: int = 12, whole_config: bool = False) -> Path:
    """Write a run and return its folder. Reading the whole configuration takes half a second, so most tests do not."""
    folder = RunFolder(path)
    path.mkdir(parents=True)
    train, test = (_write_rows(path / f"{name}.parquet", seed, size) for name, size in (("train", 40), ("test", 10)))
    _write_config(folder, seed, steps, whole_config)
    rng = random.Random(f"run {seed}")
    records = []
    for step in range(steps + 1):
        skill = 0.2 + 0.7 * step / steps
        data = _train_step(folder, step, train, skill, rng) if step else {}
        if step % TEST_FREQ == 0:
            data |= _validate(folder, step, test, skill, rng)
            checkpoint_folder(folder.checkpoints, step).mkdir(parents=True)
        records.append({"step": step, "data": data})
    write_lines(folder.metrics, records)
    (folder.checkpoints / "latest_checkpointed_iteration.txt").write_text(str(steps))
    return path


def write_lines(path: Path, records: list[dict]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = (json.dumps(record, ensure_ascii=False) + "\n" for record in records)
    path.write_text("".join(lines), encoding="utf-8", errors="surrogatepass")


def rollout(output: str, truth: str, step: int = 1, uid: str = "a_0_0", prompt: str = "user\nhi\n", **keys) -> dict:
    """Return a row of a dump, scored by the reward unless ``score`` is given."""
    score = compute_score("", output, truth)["score"]
    return {"input": prompt, "output": output, "gts": truth, "score": score, "step": step, "uid": uid} | keys


def _write_rows(path: Path, seed: int, count: int) -> list[tuple[str, object]]:
    """Write a parquet file in which the sources take turns, and return (prompt as verl dumps it, task) of each row."""
    world, rng, template = World(seed), random.Random(f"{path.stem} {seed}"), load_template("compact")
    tasks = [world.task(draw_kind(rng), path.stem, rng) for _ in range(count)]
    prompts = [prompt_messages(task, template) for task in tasks]
    rows = [
        {
            "data_source": SOURCES[index % 2],
            "prompt": prompt,
            "reward_model": {"ground_truth": format_calls(task.calls)},
            "extra_info": {"index": index},
        }
        for index, (prompt, task) in enumerate(zip(prompts, tasks, strict=True))
    ]
    pq.write_table(pa.Table.from_pylist(rows), path)
    dumped = ("".join(f"{turn['role']}\n{turn['content']}\n" for turn in prompt) + "assistant\n" for prompt in prompts)
    return list(zip(dumped, tasks, strict=True))


def _write_config(folder: RunFolder, seed: int, steps: int, whole: bool) -> None:
    """Write the configuration as Hydra does beside a run of verl."""
    overrides = [
        f"data.train_files={quote(folder.path / 'train.parquet')}",
        f"data.val_files={quote(folder.path / 'test.parquet')}",
        "actor_rollout_ref.model.path=Qwen/Qwen2.5-7B-Instruct",
        f"data.train_batch_size={GROUPS}",
        f"actor_rollout_ref.rollout.n={ROLLOUTS}",
        f"data.seed={seed}",
        f"trainer.total_training_steps={steps}",
        f"trainer.test_freq={TEST_FREQ}",
        f"trainer.rollout_data_dir={quote(folder.rollouts)}",
        f"trainer.validation_data_dir={quote(folder.validation)}",
    ]
    record = folder.hydra / ".hydra"
    record.mkdir(parents=True)
    OmegaConf.save(compose(RECIPE, overrides) if whole else OmegaConf.from_dotlist(overrides), record / "config.yaml")
    OmegaConf.save(overrides, record / "overrides.yaml")
    OmegaConf.save({"hydra": {"job": {"config_name": RECIPE if whole else "mine"}}}, record / "hydra.yaml")


def _train_step(folder: RunFolder, step: int, tasks: list, skill: float, rng: random.Random) -> dict[str, float]:
    rows = []
    for prompt, task in rng.sample(tasks, GROUPS):
        uid, chance = f"{rng.getrandbits(64):016x}", min(1.0, max(0.0, rng.gauss(skill, 0.3)))
        rows += [_respond(prompt, task, chance, step, f"{uid}_{number}_0", rng) for number in range(ROLLOUTS)]
    write_lines(folder.rollouts / f"{step}.jsonl", rows)
    lengths = [len(row["output"]) / 4 for row in rows]
    return {
        "critic/score/mean": sum(row["score"] for row in rows) / len(rows),
        "actor/kl_loss": 0.01 * step,
        "actor/entropy": 1.5 - skill,
        "actor/grad_norm": rng.uniform(0.1, 0.4),
        "response_length/mean": sum(lengths) / len(lengths),
        "response_length/min": min(lengths),
        "response_length/max": max(lengths),
        **{f"timing_s/{phase}": rng.uniform(0.5, 1.0) for phase in PHASES},
        "timing_s/step": 6.5,
    }


def _validate(folder: RunFolder, step: int, tasks: list, skill: float, rng: random.Random) -> dict[str, float]:
    rows = [_respond(*task, skill, step, f"{index:016x}_0_0", rng) for index, task in enumerate(tasks)]
    # Unlike the dumps of rollouts, those of validation hold what the reward returned.
    rows = [row | compute_score("", row["output"], row["gts"]) for row in rows]
    write_lines(folder.validation / f"{step}.jsonl", rows)
    by_source = {source: [row["acc"] for row in rows[place::2]] for place, source in enumerate(SOURCES)}
    return {f"val-core/{source}/acc/mean@1": sum(values) / len(values) for source, values in by_source.items()}


def _respond(prompt: str, task, chance: float, step: int, uid: str, rng: random.Random) -> dict:
    right = careful_response(task)
    wrong = rng.choice([hasty_response(task), hasty_response(task), right[:-15], right.replace("</think>", "")])
    return rollout(right if rng.random() < chance else wrong, format_calls(task.calls), step, uid, prompt)
