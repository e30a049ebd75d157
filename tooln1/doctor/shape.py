"""The sizes of a decoder-only language model, worked out from its config.json: parameters, LoRA adapters, KV cache.

docs/doctor.md has the formulas. They hold for the architectures of ARCHITECTURES; tests compare every count with that
of the same model built by transformers (and peft) on the meta device.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tooln1.errors import UserError

# Which parts carry a bias, as transformers builds them: a bool, or the name of the configuration's flag.
ARCHITECTURES = {
    "llama": {"qkv_bias": "attention_bias", "o_bias": "attention_bias", "mlp_bias": "mlp_bias", "qk_norm": False},
    "mistral": {"qkv_bias": False, "o_bias": False, "mlp_bias": False, "qk_norm": False},
    "qwen2": {"qkv_bias": True, "o_bias": False, "mlp_bias": False, "qk_norm": False},
    "qwen3": {"qkv_bias": "attention_bias", "o_bias": "attention_bias", "mlp_bias": False, "qk_norm": True},
}


@dataclass(frozen=True, kw_only=True)
class ModelShape:
    """The numbers of a model's configuration that decide how much memory it takes."""

    hidden: int
    layers: int
    intermediate: int
    heads: int
    kv_heads: int
    head_dim: int
    vocab: int
    positions: int  # max_position_embeddings
    tied: bool
    qkv_bias: bool
    o_bias: bool
    mlp_bias: bool
    qk_norm: bool

    @property
    def q_width(self) -> int:
        return self.heads * self.head_dim

    @property
    def kv_width(self) -> int:
        return self.kv_heads * self.head_dim

    @property
    def layer_parameters(self) -> int:
        """One decoder layer: attention, gated MLP and two norms."""
        weights = sum(inputs * outputs for _, inputs, outputs in self.layer_linears())
        biases = self.qkv_bias * (self.q_width + 2 * self.kv_width) + self.o_bias * self.hidden
        biases += self.mlp_bias * (2 * self.intermediate + self.hidden)
        return weights + biases + 2 * self.hidden + self.qk_norm * 2 * self.head_dim

    @property
    def embedding_parameters(self) -> int:
        """The embedding and, unless it is tied to it, the output layer."""
        return self.vocab * self.hidden * (1 if self.tied else 2)

    @property
    def parameters(self) -> int:
        return self.layers * self.layer_parameters + self.embedding_parameters + self.hidden

    def layer_linears(self) -> Iterator[tuple[str, int, int]]:
        """(name in the layer, inputs, outputs) of the linear layers of one decoder layer."""
        for name, inputs, outputs in (
            ("q_proj", self.hidden, self.q_width),
            ("k_proj", self.hidden, self.kv_width),
            ("v_proj", self.hidden, self.kv_width),
            ("o_proj", self.q_width, self.hidden),
        ):
            yield f"self_attn.{name}", inputs, outputs
        for name, inputs, outputs in (
            ("gate_proj", self.hidden, self.intermediate),
            ("up_proj", self.hidden, self.intermediate),
            ("down_proj", self.intermediate, self.hidden),
        ):
            yield f"mlp.{name}", inputs, outputs

    def lora_parameters(
        self, rank: int, target_modules: str | Sequence[str], exclude_modules: str | Sequence[str] | None = None
    ) -> int:
        """What peft's LoRA adds: rank × (inputs + outputs) for every linear layer that is targeted.

        Args:
            rank: actor_rollout_ref.model.lora_rank.
            target_modules: as peft takes it: "all-linear" (all but the output layer), names, or a regular expression.
            exclude_modules: names or a regular expression.

        Raises:
            UserError: nothing is targeted, which peft refuses.
        """
        linears = [
            (f"model.layers.{layer}.{name}", inputs, outputs)
            for layer in range(self.layers)
            for name, inputs, outputs in self.layer_linears()
        ]
        if target_modules != "all-linear":
            linears = [one for one in [*linears, ("lm_head", self.hidden, self.vocab)] if _hits(target_modules, one[0])]
        kept = [one for one in linears if exclude_modules is None or not _hits(exclude_modules, one[0])]
        if not kept:
            raise UserError(
                f"actor_rollout_ref.model.target_modules={target_modules}: no linear layer has such a name; expected "
                f'"all-linear" or names out of {", ".join(name.split(".")[-1] for name, *_ in self.layer_linears())}'
            )
        return sum(rank * (inputs + outputs) for _, inputs, outputs in kept)

    def kv_bytes_per_token(self, element_bytes: int) -> int:
        """A token's keys and values in all layers of the whole model."""
        return 2 * self.layers * self.kv_width * element_bytes


def _hits(patterns: str | Sequence[str], name: str) -> bool:
    """Whether peft counts a module in: a text is a regular expression of the whole name, a list holds its endings."""
    if isinstance(patterns, str):
        return re.fullmatch(patterns, name) is not None
    return any(name == pattern or name.endswith(f".{pattern}") for pattern in patterns)


def read_shape(config: Mapping[str, Any], source: str) -> ModelShape:
    """The shape of the model that a config.json describes; ``source`` names it in messages.

    Raises:
        UserError: an architecture without formulas, or a number that is missing or makes no model.
    """
    architecture = ARCHITECTURES.get(config.get("model_type", ""))
    if architecture is None:
        raise UserError(
            f'{source}: "model_type" is {config.get("model_type")!r}, for which the doctor has no formulas '
            f"(it has them for {', '.join(ARCHITECTURES)}); memory and checkpoint size are not estimated"
        )
    heads, hidden = _whole(config, "num_attention_heads", source), _whole(config, "hidden_size", source)
    return ModelShape(
        hidden=hidden,
        layers=_whole(config, "num_hidden_layers", source),
        intermediate=_whole(config, "intermediate_size", source),
        heads=heads,
        kv_heads=_whole(config, "num_key_value_heads", source),
        head_dim=_whole(config, "head_dim", source) if config.get("head_dim") else hidden // heads,
        vocab=_whole(config, "vocab_size", source),
        positions=_whole(config, "max_position_embeddings", source),
        tied=bool(config.get("tie_word_embeddings")),
        **{part: bool(config.get(flag)) if isinstance(flag, str) else flag for part, flag in architecture.items()},
    )


def _whole(config: Mapping[str, Any], key: str, source: str) -> int:
    value = config.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise UserError(f'{source}: "{key}" is {value!r}; expected a whole number, 1 or more; save the model again')
    return value
