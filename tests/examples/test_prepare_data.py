"""examples/prepare_data.sh on real rows: what a name makes, that nothing is made twice, that halves share nothing."""

import json

import pyarrow.parquet as pq
import pytest
from example_scripts import ROOT, replace_program, run_script

from tooln1.data.rows import digest
from tooln1.prompt import format_response

SAMPLES = ROOT.parent / "shared" / "data"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    if not SAMPLES.is_dir():
        pytest.skip(f"{SAMPLES} is absent")
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def prepare(data):
    def run(name):
        samples = {"TOOLACE_INPUT": SAMPLES / "toolace_sample.json", "XLAM_INPUT": SAMPLES / "xlam_sample.json"}
        done = run_script("prepare_data.sh", name, DATA_DIR=data, **samples)
        assert done.returncode == 0, done.stderr
        return {side: pq.read_table(data / name / f"{side}.parquet").to_pylist() for side in ("train", "test")}

    return run


def conversations(rows):
    return {tuple(turn["content"] for turn in row["prompt"][:2]) for row in rows}


def test_a_mixture_holds_both_sources_and_is_made_once(prepare, data):
    rows = prepare("about-21k")
    sources = {row["data_source"] for row in rows["train"]}
    # The sample has no single-turn conversations of ToolACE.
    assert sources == {"toolcall/toolace_multi_turn", "toolcall/xlam"}
    written = (data / "about-21k" / "train.parquet").stat().st_mtime_ns
    assert prepare("about-21k") == rows
    assert (data / "about-21k" / "train.parquet").stat().st_mtime_ns == written


def test_a_source_alone(prepare):
    assert {row["data_source"] for row in prepare("xlam-only")["train"]} == {"toolcall/xlam"}


def test_the_halves_share_no_conversation_and_no_held_out_row(prepare):
    halves, whole = prepare("halves"), prepare("single-turn-5518")
    first, second = conversations(halves["train"]), conversations(halves["test"])
    assert first and second and not first & second
    assert first | second == conversations(whole["train"])
    assert abs(len(first) - len(second)) <= 2


def test_sft_data_have_no_reasoning_or_that_of_the_responses(prepare, data):
    without = prepare("sft-no-reason")["train"]
    assert all("<think>" not in turn["content"] for row in without for turn in row["messages"])

    (data / "distilled").mkdir()
    with open(data / "distilled" / "responses.jsonl", "w") as file:
        for row in prepare("halves")["train"]:
            response = format_response(json.loads(row["reward_model"]["ground_truth"]), "The user wants it.")
            file.write(json.dumps({"prompt": digest(row["prompt"]).hex(), "response": response}) + "\n")
    reasons = prepare("sft-reason-half")
    assert all("The user wants it." in row["messages"][-1]["content"] for row in reasons["train"])
    assert sum(map(len, reasons.values())) == len(prepare("halves")["train"])


@pytest.fixture
def steps(tmp_path):
    """Runs the script with a `python` that only notes its arguments and fails where asked; returns code and scripts."""

    def run(name, failing="nothing"):
        program = f'step=$(basename "$1" .py); echo "$step" >>{tmp_path}/steps; [ "$step" != {failing} ] || exit 7'
        done = run_script(
            "prepare_data.sh",
            name,
            DATA_DIR=tmp_path,
            PATH=replace_program(tmp_path, f"#!/bin/sh\n{program}\n", "python"),
        )
        return done.returncode, (tmp_path / "steps").read_text().split()

    return run


@pytest.mark.parametrize(
    "name, expected",
    [
        ("toolace-only", ["toolace", "mix"]),
        ("toolace-single", ["toolace", "mix"]),
        ("xlam-only", ["xlam", "mix"]),
        ("full", ["toolace", "xlam", "mix"]),
        ("sft-reason-half", ["toolace", "xlam", "mix", "mix", "sft"]),
    ],
)
def test_only_what_a_name_needs_is_prepared(name, expected, steps):
    # xLAM is gated: who wants ToolACE alone needs no access.
    assert steps(name) == (0, expected)


@pytest.mark.parametrize(
    "name, failing, done",
    [
        ("full", "toolace", ["toolace"]),
        ("sft-no-reason", "xlam", ["toolace", "xlam"]),
        ("sft-reason-half", "mix", ["toolace", "xlam", "mix"]),
    ],
)
def test_a_failed_step_ends_the_script_with_its_exit_code(name, failing, done, steps):
    assert steps(name, failing) == (7, done)


def test_an_unknown_name_is_one_line_and_exit_code_2():
    done = run_script("prepare_data.sh", "everything")
    assert done.returncode == 2 and "everything: unknown" in done.stderr
