"""`tooln1 report`: what it prints, writes and refuses."""

import json
import signal
import subprocess
import sys
from functools import partial

import pytest
from verl_run import rollout, write_lines

from tooln1.cli import main


def test_the_page_is_written_into_the_run_folder(copied, capsys):
    main(["report", str(copied)])
    assert (copied / "report.html").stat().st_size > 1_000_000
    assert f"{copied / 'report.html'}: run at step 12" in capsys.readouterr().out
    assert not list(copied.glob("*.tmp"))


def test_text_is_printed_and_no_page_is_written(run_folder, capsys):
    main(["report", str(run_folder), "--text"])
    assert "Final validation accuracy" in capsys.readouterr().out
    assert not (run_folder / "report.html").exists()


def test_the_summary_is_written_and_its_time_is_also_the_pages(copied, capsys):
    main(["report", str(copied), "--summary", "--wall-seconds", "301.5"])
    assert "The whole run    301.5 s" in capsys.readouterr().out
    assert json.loads((copied / "summary.json").read_text())["wall_seconds"] == 301.5
    assert "5 min 01 s" in (copied / "report.html").read_text()
    main(["report", str(copied), "--text"])
    assert "5 min 01 s" in capsys.readouterr().out


def test_every_chart_with_lines_is_drawn_with_the_same_bytes_again(tmp_path, capsys):
    pytest.importorskip("matplotlib")
    write_lines(tmp_path / "metrics.jsonl", [{"step": step, "data": {"critic/score/mean": 0.5}} for step in (1, 2)])
    write_lines(tmp_path / "rollouts" / "1.jsonl", [rollout("<think>t</think><tool_call>[]</tool_call>", "[]")])
    (tmp_path / "run.json").write_text('{"changes": [{"step": 1, "key": "data.train_batch_size", "old": 4, "new": 8}]}')
    for name in ("first", "second"):
        main(["report", str(tmp_path), "--text", "--figures", str(tmp_path / name)])
    assert f"{tmp_path / 'second'}: 6 figures" in capsys.readouterr().out
    files = sorted(path.name for path in (tmp_path / "first").iterdir())
    assert files == [f"{chart}.{kind}" for chart in ("outcomes_0", "reward", "signal_0") for kind in ("png", "svg")]
    for name in files:
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "second" / name).read_bytes()
    # The mark where the settings were changed.
    assert "<!-- data.train_batch_size -->" in (tmp_path / "first" / "reward.svg").read_text()


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


def test_watching_waits_for_a_run_writes_its_page_again_and_ends_by_ctrl_c(tmp_path):
    """One process sees an empty folder, then a first step, then a second."""
    command = [sys.executable, "-m", "tooln1.cli", "report", str(tmp_path), "--watch", "--every", "1"]
    # A shell's background job, which may run the tests, ignores Ctrl-C.
    heed = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=heed) as watch:
        try:
            assert "waiting" in watch.stdout.readline()
            for step in (1, 2):
                records = [{"step": one, "data": {"critic/score/mean": 0.5}} for one in range(1, step + 1)]
                write_lines(tmp_path / "metrics.jsonl", records)
                while f"at step {step}" not in watch.stdout.readline():
                    assert watch.poll() is None
            assert '<meta http-equiv="refresh" content="1">' in (tmp_path / "report.html").read_text()
        finally:
            watch.send_signal(signal.SIGINT)
        assert watch.wait(30) == 0 and watch.stderr.read() == ""
