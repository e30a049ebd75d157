"""Composing and checking a configuration: what passes, and what a mistake gets.

tests/recipe holds what the recipe's own files compose to.
"""

import os

import pytest

from tooln1.config import compose, locate, missing_keys, quote, recipes, validate
from tooln1.errors import UserError

FILES = ("data.train_files=train.parquet", "data.val_files=test.parquet")
GRPO = (*FILES, "actor_rollout_ref.model.path=Qwen/Qwen2.5-7B-Instruct")
SFT = ("data.train_files=train.parquet", "model.path=Qwen/Qwen2.5-7B-Instruct")


@pytest.mark.parametrize("name", recipes())
def test_verl_takes_every_recipe(name):
    validate(compose(name, SFT if "sft" in name else GRPO))


def test_checking_leaves_the_configuration_as_it_was():
    config = compose("tool_n1_grpo", GRPO)
    before = config.copy()
    validate(config)
    assert config == before


def test_a_model_folder_is_read_like_verl_reads_it(tiny_model, tmp_path):
    validate(compose("tool_n1_grpo_cpu", [*FILES, f"actor_rollout_ref.model.path={tiny_model}"]))
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(UserError, match="actor_rollout_ref.model"):
        validate(compose("tool_n1_grpo_cpu", [*FILES, f"actor_rollout_ref.model.path={tmp_path}"]))


@pytest.mark.parametrize(
    "name, overrides, named",
    [
        ("tool_n1_grpo", FILES, "actor_rollout_ref.model.path: missing"),
        ("tool_n1_sft", (), "data.train_files, model.path: missing"),
        ("tool_n1_grpo", (*GRPO, "actor_rollout_ref.actor.loss_agg_mode=foo"), "Invalid loss_agg_mode: foo"),
        ("tool_n1_grpo", (*GRPO, "+actor_rollout_ref.rollout.foo=1"), "verl refuses actor_rollout_ref.rollout"),
        ("tool_n1_grpo", (*GRPO, "+actor_rollout_ref.model.foo=1"), "verl refuses actor_rollout_ref.model"),
        ("tool_n1_grpo", (*GRPO, "data.train_files=${nope}"), "Interpolation key 'nope' not found"),
        ("tool_n1_sft", (*SFT, "+optim.foo=1"), "verl refuses optim"),
    ],
)
def test_what_verl_would_refuse_later_is_one_line_now(name, overrides, named):
    with pytest.raises(UserError) as error:
        validate(compose(name, overrides))
    assert named in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    "name, overrides, named",
    [
        ("tool_n1_grop", (), "no such configuration; did you mean tool_n1_grpo?"),
        ("mine.yaml", (), "mine.yaml: no such file"),
        ("tool_n1_grpo", ("trainer.save_frq=1",), "did you mean trainer.save_freq?"),
        ("tool_n1_grpo", ("trainer.save_freq",), "trainer.save_freq: "),
        ("tool_n1_grpo", ("rollout_engine=tgi",), "rollout_engine/tgi"),
    ],
)
def test_what_hydra_refuses_is_one_line_with_what_was_meant(name, overrides, named):
    with pytest.raises(UserError) as error:
        compose(name, overrides)
    assert named in str(error.value) and "\n" not in str(error.value)


def test_what_a_run_does_not_use_may_be_incomplete():
    assert missing_keys(compose("tool_n1_grpo")) == [
        "actor_rollout_ref.model.path",
        "data.train_files",
        "data.val_files",
    ]


def test_a_file_of_the_users_own_builds_on_the_recipe(tmp_path, monkeypatch):
    folder = tmp_path / "my, configs"
    folder.mkdir()
    # Hydra sets a search path from the file that is named only, so tool_n1_grpo itself cannot be built upon.
    parts = "ppo_trainer, settings/grpo, preset: today, rollout_engine: vllm, strategy: fsdp, platform: 8x80gb, _self_"
    (folder / "mine.yaml").write_text(f"defaults: [{parts}]\ntrainer: {{save_freq: 3}}\n")
    monkeypatch.chdir(tmp_path)
    assert locate("my, configs/mine.yaml") == (folder, "mine")
    config = compose(
        f"my, configs{os.sep}mine.yaml", [*GRPO, "rollout_engine=sglang", f"trainer.project_name={quote(folder)}"]
    )
    assert (config.trainer.save_freq, config.actor_rollout_ref.rollout.name) == (3, "sglang")
    assert config.trainer.project_name == str(folder)
