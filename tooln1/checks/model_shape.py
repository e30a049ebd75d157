"""The sizes of a decoder-only language model, worked out from its config.json: parameters, LoRA adapters, KV cache.

docs/doctor.md has the formulas. They hold for ARCHITECTURES; the tests compare every count with the model that
transformers (and peft) build on the meta device. Building it here would import torch, which takes longer than all
quick checks together.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tooln1.errors import UserError

ARCHITECTURES = ("llama", "mistral", "qwen2", "qwen3")


@dataclass(frozen=True, kw_only=True)
class ModelShape:
    """The numbers of config.json that decide how much memory a model takes."""

    hidden: int
    layers: int
    intermediate: int
    heads: int
    kv_heads: int
    head_dim: int
    vocab: int
    positions: int  # max_position_embeddings
    tied: bool
    qkv_bias: bool  # Qwen2
    qk_norm: bool  # Qwen3

    @property
    def q_width(self) -> int:
        return self.heads * self.head_dim

    @property
    def kv_width(self) -> int:
        return self.kv_heads * self.head_dim

    @property
    def linears(self) -> dict[str, tuple[int, int]]:
        """{name: (inputs, outputs)} of the linear layers of one decoder layer."""
        return {
            "self_attn.q_proj": (self.hidden, self.q_width),
            "self_attn.k_proj": (self.hidden, self.kv_width),
            "self_attn.v_proj": (self.hidden, self.kv_width),
            "self_attn.o_proj": (self.q_width, self.hidden),
            "mlp.gate_proj": (self.hidden, self.intermediate),
            "mlp.up_proj": (self.hidden, self.intermediate),
            "mlp.down_proj": (self.intermediate, self.hidden),
        }

    @property
    def layer_parameters(self) -> int:
        """One decoder layer: attention, gated MLP and two norms."""
        weights = sum(inputs * outputs for inputs, outputs in self.linears.values())
        biases = self.qkv_bias * (self.q_width + 2 * self.kv_width)
        return weights + biases + 2 * self.hidden + self.qk_norm * 2 * self.head_dim

    @property
    def embedding_parameters(self) -> int:
        """The embedding, and the output layer unless it is the same matrix."""
        return self.vocab * self.hidden * (1 if self.tied else 2)

    @property
    def parameters(self) -> int:
        return self.layers * self.layer_parameters + self.embedding_parameters + self.hidden

    def lora_parameters(
        self, rank: int, target_modules: str | Sequence[str], exclude_modules: str | Sequence[str] | None = None
    ) -> int:
        """What peft's LoRA adds: rank × (inputs + outputs) for each linear layer that is targeted.

        Args:
            rank: actor_rollout_ref.model.lora_rank.
            target_modules: "all-linear" (all but the output layer), names, or a regular expression.
            exclude_modules: names or a regular expression.

        Raises:
            UserError: no layer is targeted, which peft refuses.
        """
        linears = {
            f"model.layers.{layer}.{name}": sizes
            for layer in range(self.layers)
            for name, sizes in self.linears.items()
        }
        if target_modules != "all-linear":
            linears["lm_head"] = (self.hidden, self.vocab)
            linears = {name: sizes for name, sizes in linears.items() if _matches(target_modules, name)}
        if exclude_modules is not None:
            linears = {name: sizes for name, sizes in linears.items() if not _matches(exclude_modules, name)}
        if not linears:
            names = ", ".join(name.rpartition(".")[2] for name in self.linears)
            raise UserError(
                f"actor_rollout_ref.model.target_modules={target_modules}: no linear layer has such a name; "
                f'expected "all-linear" or names out of {names}'
            )
        return sum(rank * (inputs + outputs) for inputs, outputs in linears.values())

    def kv_bytes_per_token(self, element_bytes: int) -> int:
        """A token's keys and values in all layers of the whole model."""
        return 2 * self.layers * self.kv_width * element_bytes


def _matches(patterns: str | Sequence[str], name: str) -> bool:
    """Whether peft selects a module: a text is a regular expression of the whole name, a list holds endings."""
    if isinstance(patterns, str):
        return re.fullmatch(patterns, name) is not None
    return any(name == pattern or name.endswith(f".{pattern}") for pattern in patterns)


def read_shape(config: Mapping[str, Any], source: str) -> ModelShape:
    """The shape of the model that a config.json describes; ``source`` names the model in messages.

    Raises:
        UserError: an architecture without formulas, or a number that is missing or is none.
    """
    kind = config.get("model_type")
    if kind not in ARCHITECTURES:
        raise UserError(
            f'{source}: "model_type" is {kind!r}, for which there are no formulas (there are for '
            f"{', '.join(ARCHITECTURES)}); memory and checkpoints are not estimated"
        )

    def number(key: str) -> int:
        value = config.get(key)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise UserError(f'{source}: "{key}" is {value!r}; expected a whole number, 1 or more; save the model again')
        return value

    heads, hidden = number("num_attention_heads"), number("hidden_size")
    return ModelShape(
        hidden=hidden,
        layers=number("num_hidden_layers"),
        intermediate=number("intermediate_size"),
        heads=heads,
        kv_heads=number("num_key_value_heads"),
        head_dim=number("head_dim") if config.get("head_dim") else hidden // heads,
        vocab=number("vocab_size"),
        positions=number("max_position_embeddings"),
        tied=bool(config.get("tie_word_embeddings")),
        qkv_bias=kind == "qwen2",
        qk_norm=kind == "qwen3",
    )
