"""verl's SFT dataset, learning the last response only: recipe/tool_n1/config/settings/sft.yaml chooses it.

verl 0.9.1 learns every assistant message. In a prepared row the earlier ones are part of the prompt, written without
reasoning: learning them teaches a model to leave the reasoning out.
"""

from typing import Any

import torch
from verl.utils.dataset.multiturn_sft_dataset import MultiTurnSFTDataset


class LastResponseDataset(MultiTurnSFTDataset):
    """`MultiTurnSFTDataset` whose loss covers the last message of each conversation and nothing else."""

    def _process_single_message(
        self, index: int, message: dict[str, Any], full_message: list, *args: Any, **kwargs: Any
    ) -> tuple:
        ids, loss_mask, *rest = super()._process_single_message(index, message, full_message, *args, **kwargs)
        if index != len(full_message) - 1:
            loss_mask = torch.zeros_like(loss_mask)
        return ids, loss_mask, *rest
