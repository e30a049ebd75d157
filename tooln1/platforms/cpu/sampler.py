"""verl's replay buffer, asked twenty times a second instead of every two seconds.

Set by trainer.v1.sampler.custom_sampler, verl's extension point. verl's trainer does not pass the interval that its
ReplayBuffer takes, and a step of the tiny model is shorter than two seconds.
"""

from verl.trainer.ppo.v1.replay_buffer import ReplayBuffer

POLL_SECONDS = 0.05


class PromptReplayBuffer(ReplayBuffer):
    """ReplayBuffer with a poll interval of POLL_SECONDS."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **{**kwargs, "poll_interval": POLL_SECONDS})
