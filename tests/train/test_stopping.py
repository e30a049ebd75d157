"""Signals to the driver: a file for the trainer at first, the end at the second time."""

import os
import signal

import pytest

from tooln1.train import stopping
from tooln1.train.stopping import PREEMPTED, StopRequests


@pytest.mark.parametrize("name", ["SIGTERM", "SIGUSR1"])
def test_the_first_signal_asks_the_trainer_to_stop(name, tmp_path, capsys):
    folder = tmp_path / "checkpoints"
    with StopRequests(folder, is_graceful=True) as requests:
        assert not (folder / "stop").exists()
        os.kill(os.getpid(), signal.Signals[name])
        assert (folder / "stop").exists() and not requests.was_answered
        (folder / "stop").rename(folder / "stopped")  # as the trainer does
        assert requests.was_answered
    assert name in capsys.readouterr().err


def test_the_second_signal_is_the_end(tmp_path, monkeypatch):
    monkeypatch.setattr(stopping, "_SAME_REQUEST_SECONDS", -1.0)
    with pytest.raises(SystemExit) as stop, StopRequests(tmp_path, is_graceful=True):
        os.kill(os.getpid(), signal.SIGTERM)
        assert (tmp_path / "stop").exists()
        os.kill(os.getpid(), signal.SIGTERM)
    assert stop.value.code == 128 + signal.SIGTERM


def test_a_signal_that_arrives_twice_at_once_is_one_request(tmp_path, monkeypatch):
    monkeypatch.setattr(stopping, "_SAME_REQUEST_SECONDS", 3600.0)
    with StopRequests(tmp_path, is_graceful=True):
        for _ in range(3):
            os.kill(os.getpid(), signal.SIGTERM)
    assert (tmp_path / "stop").exists()


def test_a_trainer_that_does_not_answer_is_stopped_by_the_first_signal(tmp_path):
    with pytest.raises(SystemExit) as stop, StopRequests(tmp_path, is_graceful=False):
        os.kill(os.getpid(), signal.SIGTERM)
    assert stop.value.code == PREEMPTED
    assert not (tmp_path / "stop").exists()


def test_requests_of_an_earlier_attempt_are_forgotten_and_handlers_restored(tmp_path):
    for name in ("stop", "stopped"):
        (tmp_path / name).touch()
    before = signal.getsignal(signal.SIGTERM)
    with StopRequests(tmp_path, is_graceful=True) as requests:
        assert not (tmp_path / "stop").exists() and not requests.was_answered
    assert signal.getsignal(signal.SIGTERM) is before
