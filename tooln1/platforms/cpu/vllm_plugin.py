"""vLLM's processes on a machine whose cores they share with a trainer (entry-point group ``vllm.general_plugins``).

Inert unless VERL_PLATFORM=cpu, like the rest of the platform.
"""

import functools
import os

# The longest sleep. ZeroMQ's PUB and SUB sockets, set to keep the last message only, lose one now and then: a reader
# that sleeps until it is called would then sleep for good, beside the message in shared memory that it waits for.
WAIT_MS = 20


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
    original, wait = SpinCondition.__init__, SpinCondition.wait

    @functools.wraps(original)
    def without_spinning(self, *args, **kwargs):
        original(self, *args, **kwargs)
        self.busy_loop_s = 0

    @functools.wraps(wait)
    def wait_briefly(self, timeout_ms=None):
        # The caller looks at the shared memory after every wait, and waits again if there is nothing.
        wait(self, timeout_ms=WAIT_MS if timeout_ms is None else min(timeout_ms, WAIT_MS))

    SpinCondition.__init__ = without_spinning
    SpinCondition.wait = wait_briefly
