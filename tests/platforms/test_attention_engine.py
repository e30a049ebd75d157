"""sdpa_varlen on packed sequences against transformers' own attention on the same sequences, padded."""

import pytest
import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

import tooln1.platforms.cpu.attention as attention

LENGTHS = [5, 1, 9, 2]


@pytest.fixture
def model():
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=50,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
    )
    return Qwen2ForCausalLM(config)


@pytest.fixture
def batch():
    torch.manual_seed(1)
    mask = torch.arange(max(LENGTHS)) < torch.tensor(LENGTHS)[:, None]
    ids = torch.randint(50, mask.shape) * mask
    packed = {"input_ids": ids[mask][None], "position_ids": torch.cat([torch.arange(n) for n in LENGTHS])[None]}
    return {"input_ids": ids, "attention_mask": mask.long()}, packed, mask


def backward(model, logits):
    model.zero_grad()
    logits.log_softmax(-1)[:, 7].sum().backward()
    return [parameter.grad.clone() for parameter in model.parameters()]


def test_logits_and_gradients_are_those_of_the_padded_batch(model, batch):
    padded, packed, mask = batch
    model.set_attn_implementation("sdpa")
    expected = model(**padded).logits[mask]
    gradients = backward(model, expected)
    model.set_attn_implementation(attention.NAME)
    found = model(**packed, use_cache=False).logits[0]
    torch.testing.assert_close(found, expected)
    for ours, theirs in zip(backward(model, found), gradients, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_a_sequence_does_not_see_its_neighbours(model, batch):
    _, packed, _ = batch
    model.set_attn_implementation(attention.NAME)
    whole = model(**packed, use_cache=False).logits[0]
    changed = packed["input_ids"].clone()
    changed[0, :5] = (changed[0, :5] + 1) % 50
    again = model(input_ids=changed, position_ids=packed["position_ids"], use_cache=False).logits[0]
    torch.testing.assert_close(again[5:], whole[5:])
    assert not torch.allclose(again[:5], whole[:5])


def test_a_padded_batch_goes_the_ordinary_way(model, batch):
    padded, _, mask = batch
    model.set_attn_implementation("sdpa")
    expected = model(**padded).logits[mask]
    model.set_attn_implementation(attention.NAME)
    torch.testing.assert_close(model(**padded).logits[mask], expected)


def test_one_sequence_generates_with_a_cache(model):
    ids = torch.tensor([[3, 4, 5, 6]])
    model.set_attn_implementation("sdpa")
    expected = model.generate(ids, max_new_tokens=6, do_sample=False)
    model.set_attn_implementation(attention.NAME)
    assert model.generate(ids, max_new_tokens=6, do_sample=False).tolist() == expected.tolist()
