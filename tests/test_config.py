"""Composing a configuration: what a user's file and overrides become, and what a mistake gets.

test_config_engine.py lets verl check configurations; tests/recipe is about the recipe's own files.
"""

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis.strategies import characters, text
from omegaconf import OmegaConf

from tooln1.config import compose, locate, missing_keys, quote
from tooln1.errors import UserError


@pytest.mark.parametrize(
    "name, overrides, named",
    [
        ("tool_n1_grop", (), "no such configuration; did you mean tool_n1_grpo?"),
        ("mine.yaml", (), "mine.yaml: no such file"),
        ("mine.yml", (), "mine.yml: no such configuration; expected a YAML file"),
        ("tool_n1_sft", ("trainer.save_frq=1",), "did you mean trainer.save_freq?"),
        ("tool_n1_sft", ("trainer.save_freq",), "trainer.save_freq: "),
        ("tool_n1_grpo", ("rollout_engine=tgi",), "rollout_engine/tgi"),
    ],
)
def test_what_hydra_refuses_is_one_line_with_a_hint(name, overrides, named):
    with pytest.raises(UserError) as error:
        compose(name, overrides)
    assert named in str(error.value) and "\n" not in str(error.value)


def test_only_the_users_inputs_are_missing():
    grpo = compose("tool_n1_grpo")
    assert missing_keys(grpo) == ["actor_rollout_ref.model.path", "data.train_files", "data.val_files"]
    assert missing_keys(compose("tool_n1_sft", ["model.path=m"])) == ["data.train_files"]
    grpo.data.train_files = "${nope}"
    with pytest.raises(UserError, match="Interpolation key 'nope' not found"):
        missing_keys(grpo)


def test_a_users_file_builds_on_the_recipe(tmp_path, monkeypatch):
    folder = tmp_path / "my, configs"
    folder.mkdir()
    # Hydra reads a search path from the primary file only, so tool_n1_grpo itself cannot be a default.
    parts = "ppo_trainer, settings/grpo, preset: efficient, rollout_engine: null, platform: 8x80gb, _self_"
    (folder / "mine.yaml").write_text(f"defaults: [{parts}]\ntrainer: {{save_freq: 3}}\n")
    monkeypatch.chdir(tmp_path)
    assert locate("my, configs/mine.yaml") == (folder, "mine")
    config = compose("my, configs/mine.yaml", ["rollout_engine=sglang"])
    assert (config.trainer.save_freq, config.actor_rollout_ref.rollout.name) == (3, "sglang")


@given(text(characters(exclude_categories=["Cc", "Cs"])) | text("\\'\"${}a:,[]=", max_size=12))
def test_any_path_survives_quoting(path):
    value = OverridesParser.create().parse_override(f"key={quote(path)}").value()
    assert OmegaConf.create({"key": value}).key == path
