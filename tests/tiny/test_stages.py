"""The stages' commands and settings: whatever a path holds, and whatever the user overrides."""

import json

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import example, given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from tooln1.config import compose, quote
from tooln1.errors import UserError
from tooln1.tiny import stages
from tooln1.tiny.stages import GRPO, SFT, Run
from tooln1.train import record

STRANGE = [
    "/with space/and  two",
    '/it\'s/"quoted"',
    "/home/${user}/runs",
    "/a\\${b}\\\\${c}",
    "/a=b/c=d",
    "/größe/数据/🎉",
    "/back\\slash/end\\",
    "/back\\'quote",
    "/comma,[list]/{map}/(call)",
    "/~home/$var/#hash/%percent",
    " leading and trailing ",
    "null",
]


@pytest.fixture(scope="module")
def parser():
    return OverridesParser.create()


@settings(max_examples=300, deadline=None)
@given(st.text())
@example("\\'\\\\'\\")
def test_hydra_reads_a_quoted_text_back(parser, text):
    value = parser.parse_override(f"key={quote(text)}").value()
    assert OmegaConf.create({"key": str(value)}).key == text


def test_strange_paths_survive_composing_the_settings():
    config = compose(GRPO, [f"trainer.logger=[{','.join(map(quote, STRANGE))}]"])
    assert list(config.trainer.logger) == STRANGE


@pytest.mark.parametrize("name", STRANGE)
def test_a_run_in_a_strange_folder_finds_its_files(name, tmp_path):
    run = Run(folder=tmp_path / name, seed=3, train_file=tmp_path / name / "my train.parquet")
    config = run.config
    assert config.data.train_files == str(run.train_file)
    assert config.trainer.default_local_dir == str(run.checkpoints)
    assert config.actor_rollout_ref.model.path == str(run.folder / "warm_start")
    assert config.data.seed == config.actor_rollout_ref.rollout.seed == 3


@pytest.mark.parametrize(
    "override, expected",
    [
        ("trainer.no_such_key=1", "no_such_key"),
        ("trainer.total_training_steps=[", "total_training_steps"),
        ("no equals sign", "no equals sign"),
        ("+trainer.nnodes=2", "nnodes"),
        ("~no_such_group", "no_such_group"),
        ("data.max_prompt_length=long", "data.max_prompt_length=long: expected a whole number"),
        ("data.max_response_length=0", "data.max_response_length=0: expected a whole number"),
    ],
)
def test_a_bad_override_is_one_line(override, expected, run):
    with pytest.raises(UserError) as error:
        Run(folder=run.folder, seed=0, overrides=(override,)).config  # noqa: B018  (composed when it is asked for)
    assert expected in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "value, good",
    [("8", True), ("0", False), ("-1", False), ("1.5", False), ("null", False), ("true", False), ("x", False)],
)
def test_a_number_of_steps_is_a_whole_number_from_one_on(value, good):
    config = OmegaConf.create({"trainer": {"total_training_steps": OmegaConf.create(f"v: {value}").v}})
    if good:
        assert stages.whole_number(config, "trainer.total_training_steps") == int(value)
        return
    with pytest.raises(UserError, match="trainer.total_training_steps=.*: expected a whole number, 1 or more"):
        stages.whole_number(config, "trainer.total_training_steps")


def test_the_users_settings_win_over_the_runs(tmp_path):
    run = Run(folder=tmp_path, seed=0, overrides=("data.max_prompt_length=1000", "trainer.save_freq=7"))
    assert run.config.trainer.save_freq == 7
    # The engine must take what the user allows.
    assert run.config.actor_rollout_ref.rollout.max_model_len == 1000 + run.config.data.max_response_length


@pytest.mark.parametrize(
    "train, val, beside, expected",
    [
        (None, None, False, "run/world/test.parquet"),
        ("mine/train.parquet", None, True, "mine/test.parquet"),
        ("mine/train.parquet", None, False, "mine/train.parquet"),
        ("mine/train.parquet", "mine/val.parquet", True, "mine/val.parquet"),
        (None, "mine/val.parquet", False, "mine/val.parquet"),
    ],
)
def test_the_validation_file_is_the_named_one_else_the_one_beside_the_training_file(
    train, val, beside, expected, tmp_path
):
    if beside:
        (tmp_path / "mine").mkdir()
        (tmp_path / "mine" / "test.parquet").touch()
    run = Run(
        folder=tmp_path / "run",
        seed=0,
        train_file=tmp_path / train if train else None,
        val_file=tmp_path / val if val else None,
    )
    assert run.val == tmp_path / expected


def test_the_warm_start_command_is_one_that_hydra_composes(tmp_path):
    run = Run(folder=tmp_path / "it's = here", seed=5)
    command = stages.sft_command(run)
    config = compose(SFT, command[command.index(SFT) + 1 :])
    assert config.data.train_files == str(run.folder / "world" / "sft.parquet")
    assert config.model.path == str(run.folder / "model")
    assert config.trainer.seed == config.engine.seed == 5


def composed(command):
    return compose(GRPO, command[command.index(GRPO) + 1 :])


@pytest.mark.parametrize("before", [True, False])
def test_the_training_command_says_what_to_validate(before, run):
    trainer = composed(stages.grpo_command(run, val_before_train=before)).trainer
    assert (trainer.val_before_train, trainer.val_only) == (before, False)


def test_the_users_own_word_on_validation_wins(run):
    mine = Run(folder=run.folder, seed=0, overrides=("trainer.val_before_train=false",))
    assert composed(stages.grpo_command(mine, val_before_train=True)).trainer.val_before_train is False
    trainer = composed(stages.validation_command(mine)).trainer
    assert (trainer.val_before_train, trainer.val_only) == (True, True)


def test_fewer_conversations_can_be_asked_for(run):
    assert "--sft" not in stages.data_command(run)
    command = stages.data_command(Run(folder=run.folder, seed=0, warm_start_rows=40))
    assert command[command.index("--sft") + 1] == "40"


@pytest.mark.parametrize(
    "tracker, folders, expected, remark",
    [
        (None, [10], None, "killed before verl wrote its tracker file"),
        ("10", [10, 20], "global_step_10", "killed while step 20 was saved"),
        ("20", [10], None, "the folder was removed"),
        ("", [10], None, "killed while the tracker was written"),
        ("20\n", [10, 20], "global_step_20", "whole"),
    ],
)
def test_the_latest_checkpoint_is_the_one_that_verl_will_resume_from(tracker, folders, expected, remark, run):
    for step in folders:
        (run.checkpoints / f"global_step_{step}").mkdir(parents=True)
    if tracker is not None:
        (run.checkpoints / "latest_checkpointed_iteration.txt").write_text(tracker)
    found = stages.latest_checkpoint(run)
    assert (found and found.name) == expected, remark


def test_the_warm_start_is_the_last_step_of_the_supervised_run(run):
    for step in (9, 10):
        (run.folder / "sft" / f"global_step_{step}" / "huggingface").mkdir(parents=True)
        (run.folder / "sft" / f"global_step_{step}" / "huggingface" / "config.json").write_text(str(step))
    stages.keep_warm_start(run)
    assert (run.folder / "warm_start" / "config.json").read_text() == "10"
    assert not (run.folder / "sft").exists()


def test_a_folder_remembers_its_run(run):
    run.folder.mkdir()
    record.refuse_another(run.folder, run.made_of)
    assert list(run.folder.iterdir()) == []  # looking alone binds a folder to nothing
    record.remember(run.folder, run.made_of)
    record.remember(run.folder, run.made_of)
    assert json.loads((run.folder / "run.json").read_text())["made_of"]["seed"] == 0


@pytest.mark.parametrize(
    "changes, named",
    [
        ({"seed": 1}, "seed 0, asked for is 1"),
        ({"model_path": "/models/other"}, "model_path None, asked for is /models/other"),
        ({"train_file": "/data/train.parquet"}, "train_file None, asked for is /data/train.parquet"),
    ],
)
@pytest.mark.parametrize("ask", [record.remember, record.refuse_another])
def test_a_folder_of_another_run_is_refused(ask, changes, named, run):
    run.folder.mkdir()
    record.remember(run.folder, run.made_of)
    with pytest.raises(UserError) as error:
        ask(run.folder, Run(**{"folder": run.folder, "seed": 0, **changes}).made_of)
    assert named in str(error.value) and "RUN_DIR=" in str(error.value)
    assert json.loads((run.folder / "run.json").read_text())["made_of"]["seed"] == 0


def test_settings_may_change_in_the_same_folder(run):
    run.folder.mkdir()
    record.remember(run.folder, run.made_of)
    longer = Run(folder=run.folder, seed=0, overrides=("trainer.total_training_steps=80",))
    record.remember(run.folder, longer.made_of)


def test_the_world_is_not_written_over_rows_that_stand_in_the_run_folder(tmp_path):
    run = Run(tmp_path, 0, train_file=tmp_path / "data" / "train.parquet")
    assert str(run.train_file.parent) not in stages.data_command(run)
