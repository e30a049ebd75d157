"""The published sizes of the models that the recipes name, as their config.json on the Hugging Face hub gives them.

Source of each: https://huggingface.co/<name>/blob/main/config.json. The parameter counts are those of the model cards
(billions, rounded as there), a second witness beside transformers' own modules.
"""

QWEN25 = {"model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"], "max_position_embeddings": 32768}
QWEN3 = {"model_type": "qwen3", "architectures": ["Qwen3ForCausalLM"], "vocab_size": 151936, "head_dim": 128}
QWEN3 |= {"max_position_embeddings": 40960, "attention_bias": False}
LLAMA = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "attention_bias": False, "mlp_bias": False}


def sizes(hidden, layers, intermediate, heads, kv_heads, vocab=None, tied=False):
    named = {
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "intermediate_size": intermediate,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "tie_word_embeddings": tied,
    }
    return named | ({"vocab_size": vocab} if vocab else {})


# name: (config.json, billions of parameters on the model card)
MODELS = {
    "Qwen/Qwen2.5-0.5B-Instruct": (QWEN25 | sizes(896, 24, 4864, 14, 2, 151936, True), 0.49),
    "Qwen/Qwen2.5-1.5B-Instruct": (QWEN25 | sizes(1536, 28, 8960, 12, 2, 151936, True), 1.54),
    "Qwen/Qwen2.5-3B-Instruct": (QWEN25 | sizes(2048, 36, 11008, 16, 2, 151936, True), 3.09),
    "Qwen/Qwen2.5-7B-Instruct": (QWEN25 | sizes(3584, 28, 18944, 28, 4, 152064), 7.61),
    "Qwen/Qwen2.5-14B-Instruct": (QWEN25 | sizes(5120, 48, 13824, 40, 8, 152064), 14.7),
    "Qwen/Qwen3-0.6B": (QWEN3 | sizes(1024, 28, 3072, 16, 8, tied=True), 0.6),
    "Qwen/Qwen3-4B": (QWEN3 | sizes(2560, 36, 9728, 32, 8, tied=True), 4.0),
    "Qwen/Qwen3-8B": (QWEN3 | sizes(4096, 36, 12288, 32, 8), 8.2),
    "Qwen/Qwen3-14B": (QWEN3 | sizes(5120, 40, 17408, 40, 8), 14.8),
    "meta-llama/Meta-Llama-3-8B-Instruct": (
        LLAMA | sizes(4096, 32, 14336, 32, 8, 128256) | {"max_position_embeddings": 8192},
        8.03,
    ),
    "meta-llama/Llama-3.1-8B-Instruct": (
        LLAMA | sizes(4096, 32, 14336, 32, 8, 128256) | {"max_position_embeddings": 131072},
        8.03,
    ),
    "meta-llama/Llama-3.2-1B-Instruct": (
        LLAMA | sizes(2048, 16, 8192, 32, 8, 128256, True) | {"max_position_embeddings": 131072, "head_dim": 64},
        1.23,
    ),
}
