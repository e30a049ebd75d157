"""Attention over packed sequences on the CPU, where flash attention's variable-length kernel does not exist.

verl removes padding: all sequences of a micro-batch follow each other as one row of tokens, and position ids that start
again at 0 mark where the next one begins. Only attention must know the borders; it pads here, for its own duration.
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
    """Causal attention within each of the packed sequences, as transformers' attention functions are called.

    Args:
        query: of shape (1, heads, tokens, size); key and value likewise, with as many heads or fewer.
        position_ids: of shape (1, tokens), starting again at 0 with every sequence.

    Returns:
        The output, of shape (1, tokens, heads, size), and no attention weights. What is not packed goes to
        transformers' own sdpa_attention_forward.
    """
    if attention_mask is not None or position_ids is None or query.shape[0] != 1 or query.shape[2] != key.shape[2]:
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs
        )
    heads, tokens = query.shape[1:3]
    slots, shape = _slots(position_ids[0])
    padded = (
        _Scatter.apply(repeat_kv(x, heads // x.shape[1])[0].transpose(0, 1).reshape(tokens, -1), slots, shape)
        .view(*shape, heads, -1)
        .transpose(1, 2)
        for x in (query, key, value)
    )
    # A sequence's padding follows it, so causal attention never looks there.
    output = F.scaled_dot_product_attention(*padded, dropout_p=dropout, scale=scaling, is_causal=True)
    packed = _Gather.apply(output.transpose(1, 2).reshape(shape[0] * shape[1], -1), slots)
    return packed.view(1, tokens, heads, -1), None


def _slots(positions: torch.Tensor) -> tuple[torch.Tensor, tuple[int, int]]:
    """The row of every token in a padded batch that is flattened, and the batch's shape (sequences, longest)."""
    sequence = (positions == 0).cumsum(0) - 1
    shape = int(sequence[-1]) + 1, int(positions.max()) + 1
    return sequence * shape[1] + positions, shape


class _Scatter(torch.autograd.Function):
    """Rows to their slots in a batch of zeros. Indexing's own backward adds up serially, as slots could repeat."""

    @staticmethod
    def forward(ctx, rows, slots, shape):
        ctx.save_for_backward(slots)
        return rows.new_zeros(shape[0] * shape[1], rows.shape[1]).index_copy_(0, slots, rows)

    @staticmethod
    def backward(ctx, gradient):
        return gradient.index_select(0, ctx.saved_tensors[0]), None, None


class _Gather(torch.autograd.Function):
    """The rows that lie in the slots: _Scatter's inverse."""

    @staticmethod
    def forward(ctx, batch, slots):
        ctx.save_for_backward(slots)
        ctx.size = batch.shape[0]
        return batch.index_select(0, slots)

    @staticmethod
    def backward(ctx, gradient):
        return gradient.new_zeros(ctx.size, gradient.shape[1]).index_copy_(0, ctx.saved_tensors[0], gradient), None


def _mask(*args, attention_mask: torch.Tensor | None = None, **kwargs) -> torch.Tensor | None:
    """No mask for packed sequences, which would be of tokens × tokens; sdpa's for a padded batch."""
    return None if attention_mask is None else sdpa_mask(*args, attention_mask=attention_mask, **kwargs)


AttentionInterface.register(NAME, sdpa_varlen)
AttentionMaskInterface.register(NAME, _mask)
