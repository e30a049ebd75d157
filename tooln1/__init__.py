"""tooln1: rule-based reinforcement learning of tool-calling language models, as a plugin over verl."""

__version__ = "0.2.0"
