"""TRL's half of cpu_step.py: GRPOTrainer with the given settings, and the seconds of each step by phase.

    python benchmarks/trl_step.py SETTINGS.json OUTPUT.json

Runs in a separate environment, which has trl but neither verl nor tooln1.
"""

import importlib.metadata
import importlib.util
import json
import sys
import time
from collections import defaultdict
from pathlib import Path

from datasets import Dataset
from transformers import TrainerCallback
from trl import GRPOConfig, GRPOTrainer

# GRPOTrainer's methods and verl's names of the phases.
PHASES = {
    "_generate": "gen",
    "_calculate_rewards": "reward",
    "_generate_and_score_completions": "rollout",
    "_get_per_token_logps_and_entropies": "ref",
}


SECONDS: dict[str, float] = defaultdict(float)


def timed(method, phase):
    """Return ``method`` of GRPOTrainer such that it adds its seconds to those of its phase."""

    def call(self, *args, **kwargs):
        started = time.perf_counter()
        try:
            return method(self, *args, **kwargs)
        finally:
            # The update computes log-probabilities too, with the trained model.
            if phase != "ref" or args[0] is self.ref_model:
                SECONDS[phase] += time.perf_counter() - started

    return call


for name, phase in PHASES.items():
    setattr(GRPOTrainer, name, timed(getattr(GRPOTrainer, name), phase))


class StepTimes(TrainerCallback):
    """The seconds of every step, and of its phases."""

    def __init__(self):
        self.steps, self._started, self._before = [], 0.0, {}

    def on_step_begin(self, *args, **kwargs):
        self._started, self._before = time.perf_counter(), dict(SECONDS)

    def on_step_end(self, *args, **kwargs):
        step = {name: value - self._before.get(name, 0.0) for name, value in SECONDS.items()}
        step["step"] = time.perf_counter() - self._started
        step["update_actor"] = step["step"] - step.pop("rollout")
        self.steps.append(step)


def reward_function(path: str):
    """Return compute_score of the reward module at ``path``, with the signature that TRL expects."""
    spec = importlib.util.spec_from_file_location("toolcall", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    def reward(completions, ground_truth, **_):
        texts = [completion[0]["content"] for completion in completions]
        return [module.compute_score("", text, truth)["score"] for text, truth in zip(texts, ground_truth, strict=True)]

    return reward


def main() -> None:
    """Train for some steps and write the times."""
    settings, output = json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2])
    times = StepTimes()
    trainer = GRPOTrainer(
        model=settings["model"],
        reward_funcs=reward_function(settings["reward"]),
        args=GRPOConfig(**settings["config"]),
        train_dataset=Dataset.from_list(settings["rows"]),
        callbacks=[times],
    )
    trainer.train()
    rewards = [entry["reward"] for entry in trainer.state.log_history if "reward" in entry]
    versions = {name: importlib.metadata.version(name) for name in ("trl", "torch", "transformers")}
    output.write_text(json.dumps({"steps": times.steps, "rewards": rewards, "versions": versions}))


if __name__ == "__main__":
    main()
