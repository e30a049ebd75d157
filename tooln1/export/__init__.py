"""A trained checkpoint as a Hugging Face model with its card."""
