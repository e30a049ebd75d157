"""Checkpoints: which are broken, which one a run resumes from, which ones stay."""

import json
import os
import re

import pytest
import torch
from safetensors.torch import save_file

from tooln1.errors import UserError
from tooln1.run_folder import checkpoint_ranks, checkpoint_steps
from tooln1.train import checkpoints

MODEL = "actor/model_world_size_2_rank_1.pt"


def truncate(path):
    os.truncate(path, path.stat().st_size - 100)


def truncate_text(path):
    os.truncate(path, 5)


def zero_the_end(path):
    with path.open("r+b") as file:
        file.seek(-200, os.SEEK_END)
        file.write(b"\0" * 200)


def zero_a_head(path):
    with path.open("r+b") as file:
        file.write(b"\0" * 64)


def empty(path):
    path.write_bytes(b"")


def flip_a_value(path):
    """One bit of a tensor, which neither the size nor the structure shows."""
    data = bytearray(path.read_bytes())
    place = data.index(torch.full((64,), 1.0).numpy().tobytes())
    data[place] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("sft", [False, True])
@pytest.mark.parametrize("with_manifest", [False, True])
@pytest.mark.parametrize("full", [False, True])
def test_a_whole_checkpoint_has_no_fault(sft, with_manifest, full, tmp_path, save):
    folder = save(tmp_path, 10, sft=sft)
    if with_manifest:
        checkpoints.write_manifest(folder)
    assert checkpoints.find_fault(folder, full) is None


@pytest.mark.parametrize(
    "name, damage, expected",
    [
        (MODEL, truncate, f"{MODEL}: not a complete torch file"),
        (MODEL, zero_the_end, f"{MODEL}: not a complete torch file"),
        (MODEL, zero_a_head, "is overwritten"),
        (MODEL, empty, f"{MODEL}: not a complete torch file"),
        (MODEL, os.remove, "actor/model: of 2 ranks those of [1] are missing"),
        ("data.pt", os.remove, "data.pt: missing"),
        ("data.pt", truncate, "data.pt: not a complete torch file"),
        ("actor/fsdp_config.json", os.remove, "actor/fsdp_config.json: missing"),
        ("actor/fsdp_config.json", truncate_text, "actor/fsdp_config.json: not JSON"),
    ],
)
def test_what_a_disk_or_a_killed_process_leaves_is_found(name, damage, expected, tmp_path, save):
    folder = save(tmp_path, 10)
    damage(folder / name)
    assert expected in checkpoints.find_fault(folder)


@pytest.mark.parametrize(
    "name, damage, expected",
    [
        (MODEL, truncate, f"{MODEL}: .* bytes, .* when it was saved"),
        (MODEL, zero_the_end, f"{MODEL}: not a complete torch file"),  # of the right size
        ("actor/fsdp_config.json", truncate_text, "actor/fsdp_config.json: .* when it was saved"),
        # Without a manifest nobody would know that it was there.
        ("actor/huggingface/config.json", os.remove, "actor/huggingface/config.json: missing"),
        ("manifest.json", truncate_text, "manifest.json: not a list of files"),
    ],
)
def test_a_manifest_shows_more(name, damage, expected, tmp_path, save):
    folder = save(tmp_path, 10)
    checkpoints.write_manifest(folder)
    damage(folder / name)
    assert re.match(expected, checkpoints.find_fault(folder))


def test_a_changed_bit_is_found_by_reading_everything(tmp_path, save):
    folder = save(tmp_path, 10)
    flip_a_value(folder / MODEL)
    assert checkpoints.find_fault(folder) is None
    assert "checksum" in checkpoints.find_fault(folder, full=True)


def test_safetensors_that_end_early_are_found(tmp_path, save):
    folder = save(tmp_path, 10)
    weights = folder / "actor" / "huggingface" / "model.safetensors"
    save_file({"weight": torch.zeros(1000)}, weights)
    assert checkpoints.find_fault(folder) is None
    truncate(weights)
    assert "not a complete safetensors file" in checkpoints.find_fault(folder)


def test_the_newest_is_taken_and_nothing_said(tmp_path, save):
    for step in (10, 20):
        save(tmp_path, step)
    assert checkpoints.choose(tmp_path) == checkpoints.Choice(20, ())


def test_without_checkpoints_a_run_starts_fresh(tmp_path):
    assert checkpoints.choose(tmp_path / "none") == checkpoints.Choice(None, ())


def test_a_broken_newest_is_named_and_set_aside_and_the_one_before_is_used(tmp_path, save):
    for step in (10, 20, 30):
        save(tmp_path, step)
    truncate(tmp_path / "global_step_30" / MODEL)
    choice = checkpoints.choose(tmp_path)
    assert choice.step == 20
    named, _ = choice.notes
    assert "global_step_30" in named and MODEL in named and "global_step_30.damaged" in named and "\n" not in named
    assert (tmp_path / checkpoints.TRACKER).read_text() == "20"
    assert (tmp_path / "global_step_30.damaged" / MODEL).exists() and not (tmp_path / "global_step_30").exists()
    assert checkpoints.choose(tmp_path) == checkpoints.Choice(20, ())


def test_what_is_set_aside_twice_gets_two_names(tmp_path, save):
    save(tmp_path, 10)
    for _ in range(2):
        truncate(save(tmp_path, 20) / MODEL)
        assert checkpoints.choose(tmp_path).step == 10
    assert {path.name for path in tmp_path.glob("*damaged*")} == {"global_step_20.damaged", "global_step_20.damaged-2"}


def test_a_save_that_was_killed_does_not_stand_in_the_way(tmp_path, save):
    save(tmp_path, 10)
    half = save(tmp_path, 20, tracked=False)
    (half / "data.pt").unlink()
    choice = checkpoints.choose(tmp_path)
    assert choice.step == 10 and "global_step_20" in choice.notes[0]
    assert not half.exists()


def test_the_first_save_that_was_killed_means_a_fresh_start(tmp_path, save):
    (save(tmp_path, 10, tracked=False) / "data.pt").unlink()
    choice = checkpoints.choose(tmp_path)
    assert choice.step is None and len(choice.notes) == 1


def test_who_went_back_by_hand_is_obeyed(tmp_path, save):
    for step in (10, 20):
        save(tmp_path, step)
    (tmp_path / checkpoints.TRACKER).write_text("10\n")
    choice = checkpoints.choose(tmp_path)
    assert choice.step == 10 and "newer than step 10" in choice.notes[0]
    assert (tmp_path / "global_step_20").exists()


@pytest.mark.parametrize("text", ["", "twenty", "\0\0", "²"])
def test_a_broken_tracker_is_rewritten(text, tmp_path, save):
    for step in (10, 20):
        save(tmp_path, step)
    (tmp_path / checkpoints.TRACKER).write_text(text)
    assert checkpoints.choose(tmp_path).step == 20
    assert (tmp_path / checkpoints.TRACKER).read_text() == "20"


def test_folders_that_the_rotation_has_emptied_are_passed_over(tmp_path, save):
    save(tmp_path, 10)
    rotated = save(tmp_path, 20)
    for path in (rotated / "actor").glob("*.pt"):
        path.unlink()
    truncate(save(tmp_path, 30) / MODEL)
    choice = checkpoints.choose(tmp_path)
    assert choice.step == 10 and rotated.exists()


def test_when_nothing_usable_is_left_the_run_does_not_start_again_unasked(tmp_path, save):
    truncate(save(tmp_path, 10) / MODEL)
    with pytest.raises(UserError, match="no usable checkpoint is left; choose another run folder.*global_step_10"):
        checkpoints.choose(tmp_path)


def test_the_best_one_is_offered_when_nothing_else_is_left(tmp_path, save):
    save(tmp_path, 10)
    checkpoints.keep_best(tmp_path, 10, 0.5)
    # Rewritten, since the files of best/ are links to the same bytes.
    model = tmp_path / "global_step_10" / MODEL
    data = model.read_bytes()
    model.unlink()
    model.write_bytes(data[:-100])
    with pytest.raises(UserError, match="resume_from_path=.*best/global_step_10"):
        checkpoints.choose(tmp_path)


def test_the_best_outlives_the_rotation(tmp_path, save):
    for step, accuracy in ((10, 0.5), (20, 0.7), (30, 0.6), (40, 0.65)):
        save(tmp_path, step, value=step)
        checkpoints.keep_best(tmp_path, step, accuracy)
        checkpoints.prune(tmp_path, 1, step)
    assert checkpoint_steps(tmp_path) == [40]
    assert checkpoint_steps(tmp_path / "best") == [20]
    assert json.loads((tmp_path / "best.json").read_text()) == {"step": 20, "accuracy": 0.7}
    kept = tmp_path / "best" / "global_step_20"
    assert checkpoints.find_fault(kept, full=True) is None
    assert torch.load(kept / MODEL)["weight"][0] == 21


@pytest.mark.parametrize(
    "accuracies, expected",
    [([0.5, 0.5], 10), ([0.5, 0.5001], 20), ([0.5, 0.4], 10), ([0.0, 0.0], 10)],
)
def test_of_equal_accuracies_the_earlier_step_stays(accuracies, expected, tmp_path, save):
    for step, accuracy in zip((10, 20), accuracies, strict=True):
        save(tmp_path, step)
        checkpoints.keep_best(tmp_path, step, accuracy)
    assert checkpoints.read_best(tmp_path)["step"] == expected


def test_a_step_that_was_not_saved_cannot_be_the_best(tmp_path, save):
    save(tmp_path, 10)
    assert checkpoints.keep_best(tmp_path, 10, 0.1)
    assert not checkpoints.keep_best(tmp_path, 15, 0.9)
    assert checkpoints.read_best(tmp_path)["step"] == 10


def test_links_take_no_room_and_copies_serve_where_there_are_none(tmp_path, save, monkeypatch):
    save(tmp_path, 10)
    checkpoints.keep_best(tmp_path, 10, 0.1)
    assert (tmp_path / "best" / "global_step_10" / MODEL).stat().st_nlink == 2

    def refuse(*_):
        raise OSError("no links here")

    monkeypatch.setattr(os, "link", refuse)
    save(tmp_path, 20)
    checkpoints.keep_best(tmp_path, 20, 0.2)
    assert checkpoints.find_fault(tmp_path / "best" / "global_step_20") is None
    assert (tmp_path / "best" / "global_step_20" / MODEL).stat().st_nlink == 1


@pytest.mark.parametrize("text", ["", "{}", '{"step": 10}', "[]", '{"step": 99, "accuracy": 1.0}'])
def test_a_broken_best_file_or_one_without_its_checkpoint_counts_as_none(text, tmp_path, save):
    save(tmp_path, 10)
    (tmp_path / "best.json").write_text(text)
    assert checkpoints.read_best(tmp_path) is None
    assert checkpoints.keep_best(tmp_path, 10, 0.1)


def test_the_rotation_leaves_steps_that_lie_ahead_and_everything_else(tmp_path, save):
    for step in (10, 20, 30, 90):
        save(tmp_path, step)
    (tmp_path / "global_step_5.damaged").mkdir()
    checkpoints.prune(tmp_path, 2, newest=30)
    assert checkpoint_steps(tmp_path) == [20, 30, 90]
    assert (tmp_path / "global_step_5.damaged").exists()


@pytest.mark.parametrize("ranks", [1, 4])
def test_the_files_tell_how_many_ranks_wrote_them(ranks, tmp_path, save):
    assert checkpoint_ranks(save(tmp_path, 10, ranks=ranks)) == ranks
