"""verl's own check of a configuration: every recipe passes, and a mistake is one line instead of a late failure."""

import pytest

from tooln1.config import compose, recipes, validate
from tooln1.errors import UserError

FILES = ("data.train_files=train.parquet", "data.val_files=test.parquet")
GRPO = (*FILES, "actor_rollout_ref.model.path=Qwen/Qwen2.5-7B-Instruct")
SFT = ("data.train_files=train.parquet", "model.path=Qwen/Qwen2.5-7B-Instruct")


@pytest.mark.parametrize("name", recipes())
def test_verl_accepts_every_recipe_and_leaves_it_unchanged(name):
    config = compose(name, SFT if "sft" in name else GRPO)
    before = config.copy()
    validate(config)
    assert config == before


@pytest.mark.parametrize(
    "name, overrides, named",
    [
        ("tool_n1_grpo", FILES, "actor_rollout_ref.model.path: missing"),
        ("tool_n1_sft", (), "data.train_files, model.path: missing"),
        ("tool_n1_grpo", (*GRPO, "actor_rollout_ref.actor.loss_agg_mode=foo"), "Invalid loss_agg_mode: foo"),
        ("tool_n1_grpo", (*GRPO, "+actor_rollout_ref.rollout.foo=1"), "verl refuses actor_rollout_ref.rollout"),
        ("tool_n1_grpo", (*GRPO, "+actor_rollout_ref.model.foo=1"), "verl refuses actor_rollout_ref.model"),
        ("tool_n1_grpo", (*GRPO, "+actor_rollout_ref.ref.fsdp_config.foo=1"), "verl refuses actor_rollout_ref.ref"),
        ("tool_n1_sft", (*SFT, "+optim.foo=1"), "verl refuses optim"),
    ],
)
def test_what_verl_would_refuse_late_is_one_line(name, overrides, named):
    with pytest.raises(UserError) as error:
        validate(compose(name, overrides))
    assert named in str(error.value) and "\n" not in str(error.value)
