"""Writes a run as verl leaves it: metrics, dumps, configuration, checkpoints; small, seeded, with two data sources.

    python tests/support/verl_run.py FOLDER [--seed 0] [--steps 12]

The same arguments give the same bytes.
"""

import argparse
import json
import random
from pathlib import Path

from omegaconf import OmegaConf

from tooln1.config import compose, quote
from tooln1.data.rows import make_row, write_parquet
from tooln1.prompt import format_calls
from tooln1.reward_score.toolcall import compute_score
from tooln1.tiny.rows import careful_response, draw_kind, hasty_response, load_compact_template, prompt_messages
from tooln1.tiny.world import World

GROUPS, ROLLOUTS, VALIDATED, TEST_FREQ = 6, 4, 10, 4
RECIPE = "tool_n1_grpo_cpu"
SOURCES = ("toolcall/xlam", "toolcall/toolace_single_turn")
PHASES = ("gen", "ref", "old_log_prob", "adv", "update_actor", "update_weights")


def write_run(folder: Path, seed: int = 0, steps: int = 12, whole_config: bool = False) -> Path:
    """Write a run and return its folder. Reading the whole configuration takes half a second, so most tests do not."""
    folder.mkdir(parents=True)
    tasks = {split: _tasks(seed, split, count) for split, count in (("train", 40), ("test", VALIDATED))}
    for split, rows in tasks.items():
        write_parquet(folder / f"{split}.parquet", [row for row, _ in rows])
    write_config(folder, seed, steps, whole_config)
    rng = random.Random(f"run {seed}")
    records = []
    for step in range(steps + 1):
        skill = 0.2 + 0.7 * step / steps
        data = _train_step(folder, step, tasks["train"], skill, rng) if step else {}
        if step % TEST_FREQ == 0:
            data |= _validate(folder, step, tasks["test"], skill, rng)
        records.append({"step": step, "data": data})
    write_lines(folder / "metrics.jsonl", records)
    for step in range(TEST_FREQ, steps + 1, TEST_FREQ):
        (folder / "checkpoints" / f"global_step_{step}").mkdir(parents=True)
    (folder / "checkpoints" / "latest_checkpointed_iteration.txt").write_text(str(steps))
    return folder


def write_lines(path: Path, records: list[dict]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = (json.dumps(record, ensure_ascii=False) + "\n" for record in records)
    path.write_text("".join(lines), encoding="utf-8", errors="surrogatepass")


def rollout(
    output: str, ground_truth: str, step: int = 1, uid: str = "a_0_0", prompt: str = "user\nhi\n", **keys
) -> dict:
    """A row of a dump, scored by the reward unless ``score`` is given."""
    score = compute_score("", output, ground_truth)["score"]
    return {"input": prompt, "output": output, "gts": ground_truth, "score": score, "step": step, "uid": uid} | keys


def write_config(folder: Path, seed: int, steps: int, whole: bool) -> None:
    """Write the configuration as Hydra does beside a run of verl."""
    overrides = [
        f"data.train_files={quote(folder / 'train.parquet')}",
        f"data.val_files={quote(folder / 'test.parquet')}",
        "actor_rollout_ref.model.path=Qwen/Qwen2.5-7B-Instruct",
        f"data.train_batch_size={GROUPS}",
        f"actor_rollout_ref.rollout.n={ROLLOUTS}",
        f"data.seed={seed}",
        f"trainer.total_training_steps={steps}",
        f"trainer.test_freq={TEST_FREQ}",
        f"trainer.rollout_data_dir={quote(folder / 'rollouts')}",
        f"trainer.validation_data_dir={quote(folder / 'validation')}",
    ]
    config = compose(RECIPE, overrides) if whole else OmegaConf.from_dotlist(overrides)
    hydra = folder / "hydra" / ".hydra"
    hydra.mkdir(parents=True)
    OmegaConf.save(config, hydra / "config.yaml")
    OmegaConf.save(overrides, hydra / "overrides.yaml")
    OmegaConf.save({"hydra": {"job": {"config_name": RECIPE if whole else "mine"}}}, hydra / "hydra.yaml")


def _tasks(seed: int, split: str, count: int) -> list[tuple[dict, object]]:
    """(row of the parquet file, task) each; the sources take turns."""
    world, rng, template = World(seed), random.Random(f"{split} {seed}"), load_compact_template()
    tasks = [world.task(draw_kind(rng), split, rng) for _ in range(count)]
    return [
        (
            make_row(
                data_source=SOURCES[index % 2],
                messages=prompt_messages(task, template),
                calls=task.calls,
                source_row=index,
                num_tools=len(task.tools),
                split=split,
                index=index,
            ),
            task,
        )
        for index, task in enumerate(tasks)
    ]


def _train_step(folder: Path, step: int, tasks: list, skill: float, rng: random.Random) -> dict[str, float]:
    rows = []
    for row, task in rng.sample(tasks, GROUPS):
        uid, chance = f"{rng.getrandbits(64):016x}", min(1.0, max(0.0, rng.gauss(skill, 0.3)))
        for number in range(ROLLOUTS):
            rows.append(_rollout(row, task, chance, step, f"{uid}_{number}_0", rng))
    write_lines(folder / "rollouts" / f"{step}.jsonl", rows)
    lengths = [len(row["output"]) / 4 for row in rows]
    return {
        "critic/score/mean": sum(row["score"] for row in rows) / len(rows),
        "actor/kl_loss": 0.01 * step * rng.uniform(0.8, 1.2),
        "actor/entropy": 1.5 - skill + rng.uniform(-0.05, 0.05),
        "actor/grad_norm": rng.uniform(0.1, 0.4),
        "actor/pg_loss": rng.uniform(-0.1, 0.1),
        "response_length/mean": sum(lengths) / len(lengths),
        "response_length/min": min(lengths),
        "response_length/max": max(lengths),
        "perf/throughput": rng.uniform(900, 1100),
        **{f"timing_s/{phase}": rng.uniform(0.5, 1.0) for phase in PHASES},
        "timing_s/step": 6.5,
    }


def _validate(folder: Path, step: int, tasks: list, skill: float, rng: random.Random) -> dict[str, float]:
    rows = [_rollout(row, task, skill, step, f"{index:016x}_0_0", rng) for index, (row, task) in enumerate(tasks)]
    # Unlike the rollouts' dumps, those of validation hold what the reward returned.
    rows = [row | compute_score("", row["output"], row["gts"]) for row in rows]
    write_lines(folder / "validation" / f"{step}.jsonl", rows)
    by_source = {source: [row["acc"] for row in rows[place::2]] for place, source in enumerate(SOURCES)}
    return {f"val-core/{source}/acc/mean@1": sum(values) / len(values) for source, values in by_source.items()}


def _rollout(row: dict, task, chance: float, step: int, uid: str, rng: random.Random) -> dict:
    right = careful_response(task)
    wrong = rng.choice([hasty_response(task), hasty_response(task), right[:-15], right.replace("</think>", "")])
    prompt = "".join(f"{message['role']}\n{message['content']}\n" for message in row["prompt"]) + "assistant\n"
    return rollout(right if rng.random() < chance else wrong, format_calls(task.calls), step, uid, prompt)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=12)
    arguments = parser.parse_args()
    write_run(arguments.folder, arguments.seed, arguments.steps, whole_config=True)
