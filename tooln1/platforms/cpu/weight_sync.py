"""The actor's side of weight sync, and the name of the socket that both sides use.

verl names the socket by Ray's job id, which is unique within one cluster only: the first job of every local cluster has
the same. Two runs on one machine would get each other's weights, in silence where the shapes are equal.
"""

import os

from verl.workers.rollout.vllm_rollout import ServerAdapter


def own_handle(handle: str) -> str:
    """Return a socket's address with the raylet's process id in it: both sides are workers of one raylet."""
    path, extension = os.path.splitext(handle)
    return f"{path}-raylet-{os.environ.get('RAY_RAYLET_PID', '0')}{extension}"


class CPUServerAdapter(ServerAdapter):
    """verl's, which sends the weights over a socket of this run alone."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.zmq_handle = own_handle(self.zmq_handle)
