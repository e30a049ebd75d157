"""The tiny world of the CPU quickstart: a tokenizer, a Qwen2 model of two million parameters and its tools."""
