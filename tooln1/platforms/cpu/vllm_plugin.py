"""vLLM's processes on a machine whose cores they share with a trainer (entry-point group ``vllm.general_plugins``).

Inert unless VERL_PLATFORM=cpu, like the rest of the platform.
"""

import functools
import os


def register() -> None:
    """Make vLLM's processes sleep while they wait for each other.

    Between messages, its worker and its engine each spin for up to a second (shm_broadcast.py, SpinCondition): a core
    that the trainer, or the other of the two, could use. Waiting on the socket instead costs microseconds a step.
    """
    if os.environ.get("VERL_PLATFORM", "").strip().lower() != "cpu":
        return
    from vllm.distributed.device_communicators.shm_broadcast import SpinCondition

    if hasattr(SpinCondition.__init__, "__wrapped__"):
        return
    original = SpinCondition.__init__

    @functools.wraps(original)
    def without_spinning(self, *args, **kwargs):
        original(self, *args, **kwargs)
        self.busy_loop_s = 0

    SpinCondition.__init__ = without_spinning
