"""Serving: an OpenAI-compatible server that speaks the format the model was trained in."""
