"""`tooln1 report`: what it prints, writes and refuses."""

import shutil
import signal
import subprocess
import sys
from functools import partial

import pytest
from verl_run import write_lines

from tooln1.cli import main


def test_the_page_lies_in_the_run_folder_unless_told_otherwise(run_folder, tmp_path, capsys):
    folder = shutil.copytree(run_folder, tmp_path / "run")
    main(["report", str(folder)])
    assert (folder / "report.html").stat().st_size > 1_000_000
    assert f"{folder / 'report.html'}: run at step 12" in capsys.readouterr().out
    assert [path.name for path in folder.iterdir() if path.name.endswith(".tmp")] == []


def test_text_is_printed_and_no_page_is_written(run_folder, capsys):
    main(["report", str(run_folder), "--text"])
    assert "Final validation accuracy" in capsys.readouterr().out
    assert not (run_folder / "report.html").exists()


def test_figures_are_the_same_files_again(run_folder, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    folders = [tmp_path / "first", tmp_path / "second"]
    for folder in folders:
        main(["report", str(run_folder), "--text", "--figures", str(folder)])
    first, second = (sorted(folder.iterdir()) for folder in folders)
    assert f"{folders[1]}: {len(second)} figures" in capsys.readouterr().out
    assert {path.stem for path in first} >= {
        "reward",
        "accuracy",
        "kl",
        "entropy",
        "outcomes_0",
        "signal_0",
        "phases_0",
    }
    assert {path.suffix for path in first} == {".png", ".svg"}
    for one, other in zip(first, second, strict=True):
        assert one.stat().st_size > 2000 and one.read_bytes() == other.read_bytes()


@pytest.mark.parametrize(
    "arguments, expected",
    [
        (["absent"], "absent: no such folder"),
        (["."], "nothing of a verl run in it"),
        ([".", "--every", "0"], "--every: expected a whole number from 1 on, got 0"),
        ([".", "--rollouts", "-1"], "--rollouts: expected a whole number from 0 on, got -1"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(arguments, expected, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stopped:
        main(["report", *arguments])
    assert stopped.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert expected in line


@pytest.mark.parametrize("output", ["folder", "file/report.html"])
def test_a_page_that_cannot_be_written_is_one_line(output, run_folder, tmp_path, capsys):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit):
        main(["report", str(run_folder), "-o", str(tmp_path / output)])
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_watching_waits_for_a_run_and_makes_its_page_anew(tmp_path):
    """One process sees an empty folder, then a first step, then a second."""
    command = [sys.executable, "-m", "tooln1.cli", "report", str(tmp_path), "--watch", "--every", "1"]
    # Of a shell's background job, which may run the tests, Ctrl-C is ignored.
    heed = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, preexec_fn=heed) as watching:
        try:
            assert "waiting" in watching.stdout.readline()
            for step in (1, 2):
                records = [{"step": one, "data": {"critic/score/mean": 0.5}} for one in range(1, step + 1)]
                write_lines(tmp_path / "metrics.jsonl", records)
                while f"at step {step}" not in watching.stdout.readline():
                    assert watching.poll() is None
            assert 'http-equiv="refresh"' in (tmp_path / "report.html").read_text()
        finally:
            watching.send_signal(signal.SIGINT)
        assert watching.wait(30) == 0
