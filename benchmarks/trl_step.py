"""TRL's half of cpu_step.py: GRPOTrainer on the model, prompts and reward that it is given.

    python benchmarks/trl_step.py --model DIR --prompts FILE --reward toolcall.py --settings JSON --output FILE

Runs in an environment of its own, which has trl but neither verl nor tooln1.
"""

import argparse
import importlib.metadata
import importlib.util
import json
import time
from collections import defaultdict
from pathlib import Path

from datasets import Dataset
from transformers import TrainerCallback
from trl import GRPOConfig, GRPOTrainer


class TimedTrainer(GRPOTrainer):
    """GRPOTrainer that adds up the seconds of its phases, as verl names them."""

    seconds = defaultdict(float)

    def _timed(self, phase, method, *args, **kwargs):
        started = time.perf_counter()
        try:
            return method(*args, **kwargs)
        finally:
            self.seconds[phase] += time.perf_counter() - started

    def _generate(self, *args, **kwargs):
        return self._timed("gen", super()._generate, *args, **kwargs)

    def _calculate_rewards(self, *args, **kwargs):
        return self._timed("reward", super()._calculate_rewards, *args, **kwargs)

    def _generate_and_score_completions(self, *args, **kwargs):
        return self._timed("rollout", super()._generate_and_score_completions, *args, **kwargs)

    def _get_per_token_logps_and_entropies(self, model, *args, **kwargs):
        method = super()._get_per_token_logps_and_entropies
        if model is self.ref_model:
            return self._timed("ref", method, model, *args, **kwargs)
        return method(model, *args, **kwargs)


class StepTimes(TrainerCallback):
    """The seconds of every step, and of its phases."""

    def __init__(self):
        self.steps, self._started, self._before = [], None, {}

    def on_step_begin(self, *args, **kwargs):
        self._started, self._before = time.perf_counter(), dict(TimedTrainer.seconds)

    def on_step_end(self, *args, **kwargs):
        step = {name: value - self._before.get(name, 0.0) for name, value in TimedTrainer.seconds.items()}
        step["step"] = time.perf_counter() - self._started
        step["update_actor"] = step["step"] - step.pop("rollout")
        self.steps.append(step)


def reward_function(path: Path):
    """compute_score of the reward module at ``path``, as TRL calls rewards."""
    spec = importlib.util.spec_from_file_location("toolcall", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    def reward(completions, ground_truth, **_):
        texts = [completion[0]["content"] for completion in completions]
        return [
            module.compute_score("toolcall/synthetic", text, truth)["score"]
            for text, truth in zip(texts, ground_truth, strict=True)
        ]

    return reward


def main() -> None:
    """Train for some steps and write the times."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--prompts", type=Path, required=True)
    parser.add_argument("--reward", type=Path, required=True)
    parser.add_argument("--settings", type=json.loads, required=True)
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    wanted = arguments.settings
    config = GRPOConfig(
        output_dir=str(arguments.output.with_suffix("")),
        per_device_train_batch_size=wanted["prompts"] * wanted["n"],
        num_generations=wanted["n"],
        max_completion_length=wanted["max_response_length"],
        temperature=wanted["temperature"],
        learning_rate=wanted["lr"],
        lr_scheduler_type="constant",
        beta=wanted["kl_loss_coef"],
        max_steps=wanted["steps"],
        seed=wanted["seed"],
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        save_strategy="no",
        report_to=[],
        logging_steps=1,
        disable_tqdm=True,
        model_init_kwargs={"dtype": "float32"},
    )
    times = StepTimes()
    trainer = TimedTrainer(
        model=arguments.model,
        reward_funcs=reward_function(arguments.reward),
        args=config,
        train_dataset=Dataset.from_json(str(arguments.prompts)),
        callbacks=[times],
    )
    trainer.train()
    rewards = [entry["reward"] for entry in trainer.state.log_history if "reward" in entry]
    versions = {name: importlib.metadata.version(name) for name in ("trl", "torch", "transformers")}
    arguments.output.write_text(json.dumps({"steps": times.steps, "rewards": rewards, "versions": versions}))


if __name__ == "__main__":
    main()
