"""The tiny world of the CPU quickstart: a tokenizer, a Qwen2 model of 1.5 million parameters and its tools."""
