"""Attention over packed sequences on the CPU, which has no kernel of flash attention for them.

verl removes padding: all sequences of a micro-batch form one row of tokens, and position ids restart at 0 where a
sequence begins. Only attention needs to know where, so it pads for its own duration.
"""

import torch
from torch.nn import functional as F
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import repeat_kv, sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

NAME = "sdpa_varlen"


def sdpa_varlen(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    position_ids: torch.Tensor | None = None,
    **kwargs,
) -> tuple[torch.Tensor, None]:
    """Causal attention within each packed sequence, with the signature of transformers' attention functions.

    Args:
        query: of shape (1, heads, tokens, size); key and value likewise, with as many heads or fewer.
        position_ids: of shape (1, tokens), restarting at 0 with every sequence.

    Returns:
        The output, of shape (1, tokens, heads, size), and no attention weights. Inputs that are not packed go to
        transformers' sdpa_attention_forward.
    """
    if attention_mask is not None or position_ids is None or query.shape[0] != 1 or query.shape[2] != key.shape[2]:
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs
        )
    heads, tokens = query.shape[1:3]
    slots, sequences, longest = _slots(position_ids[0])

    def pad(packed: torch.Tensor) -> torch.Tensor:
        rows = repeat_kv(packed, heads // packed.shape[1])[0].transpose(0, 1).reshape(tokens, -1)
        # Indexing with [] would be shorter, but adds up its gradients one by one.
        batch = rows.new_zeros(sequences * longest, rows.shape[1]).index_copy(0, slots, rows)
        return batch.view(sequences, longest, heads, -1).transpose(1, 2)

    # The padding is at a sequence's end, where causal attention never looks.
    output = F.scaled_dot_product_attention(
        pad(query), pad(key), pad(value), dropout_p=dropout, scale=scaling, is_causal=True
    )
    rows = output.transpose(1, 2).reshape(sequences * longest, -1).index_select(0, slots)
    return rows.view(1, tokens, heads, -1), None


def _slots(positions: torch.Tensor) -> tuple[torch.Tensor, int, int]:
    """Return each token's row in the flattened padded batch, the number of sequences and the longest one's length."""
    sequence = (positions == 0).cumsum(0) - 1
    longest = int(positions.max()) + 1
    return sequence * longest + positions, int(sequence[-1]) + 1, longest


def _mask(*args, attention_mask: torch.Tensor | None = None, **kwargs) -> torch.Tensor | None:
    """Return no mask for packed sequences, where it would have tokens × tokens entries; else transformers' mask."""
    return None if attention_mask is None else sdpa_mask(*args, attention_mask=attention_mask, **kwargs)


AttentionInterface.register(NAME, sdpa_varlen)
AttentionMaskInterface.register(NAME, _mask)
