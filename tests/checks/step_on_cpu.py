"""One update of a small model on the CPU, as a separate process: prints the growth of its memory in bytes.

python step_on_cpu.py CONFIG_JSON SEQUENCES LENGTH
"""

import json
import sys

import psutil
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from tooln1.platforms.cpu.attention import NAME


def main(config: str, sequences: int, length: int) -> None:
    torch.set_num_threads(1)
    config = AutoConfig.for_model(**json.loads(config))
    config._attn_implementation = NAME

    def step(model, optimizer, count):
        positions = torch.arange(length).repeat(count)[None]
        logits = model(torch.zeros_like(positions), position_ids=positions, use_cache=False).logits[0]
        loss = torch.log_softmax(logits, dim=-1)[:, 0].sum()
        del logits
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    # What torch itself takes for its first step of all is no part of the estimate.
    small = AutoModelForCausalLM.from_config(config)
    step(small, torch.optim.AdamW(small.parameters()), 1)
    del small
    before = psutil.Process().memory_info().rss
    model = AutoModelForCausalLM.from_config(config)
    step(model, torch.optim.AdamW(model.parameters()), sequences)
    with open("/proc/self/status") as status:
        peak = next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))
    print(peak - before)


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
