"""The formulas against what torch itself allocates, and the phases against sums that a reader can check."""

import types

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.distributed._tools.mem_tracker import MemTracker
from transformers import AutoConfig, AutoModelForCausalLM

from tooln1.checks.memory_estimate import (
    GIB,
    activation_bytes,
    cache_tokens,
    gpu_phases,
    logit_bytes,
    saved_per_token,
    trained_parameters,
)
from tooln1.checks.model_shape import read_shape

ROLLOUT, FSDP = "actor_rollout_ref.rollout", "actor_rollout_ref.actor.fsdp_config"
FUSED = "actor_rollout_ref.model.use_fused_kernels"
SMALL = {
    "hidden_size": 256,
    "intermediate_size": 704,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "head_dim": 32,
    "vocab_size": 1000,
    "max_position_embeddings": 8192,
    "tie_word_embeddings": False,
}


def model_of(config, dtype, checkpointing=False):
    made = AutoConfig.for_model(**config)
    made._attn_implementation = "sdpa"
    model = AutoModelForCausalLM.from_config(made, dtype=dtype).train()
    if checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    return model


def saved_by_autograd(config, dtype, tokens):
    """The bytes of all storages that autograd saves in a forward pass, the model's own apart."""
    model = model_of(config, dtype)
    own = {tensor.untyped_storage().data_ptr() for tensor in (*model.parameters(), *model.buffers())}
    kept, sizes = [], {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        kept.append(tensor)  # else a freed block's address could come back as another's
        if storage.data_ptr() not in own:
            sizes[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        model.model(torch.zeros(1, tokens, dtype=torch.long), use_cache=False)
    return sum(sizes.values())


@pytest.mark.parametrize("dtype, width", [(torch.bfloat16, 2), (torch.float32, 4)])
@pytest.mark.parametrize("model_type", ["qwen2", "qwen3", "llama", "mistral"])
def test_a_layer_saves_exactly_what_the_formula_says(model_type, dtype, width):
    config, tokens = {"model_type": model_type, **SMALL}, 64
    # The difference of two depths: what is saved once, such as positions and the final norm, drops out.
    two, four = (saved_by_autograd({**config, "num_hidden_layers": layers}, dtype, tokens) for layers in (2, 4))
    shape = read_shape({**config, "num_hidden_layers": 1}, "m")
    assert (four - two) / 2 == tokens * saved_per_token(shape, width)


def peak(tracked, forward):
    """The most bytes by kind that tensors took during ``forward`` and the backward pass of what it returns."""
    tracker = MemTracker()
    tracker.track_external(*tracked)
    with tracker:
        forward().backward()
    (found,) = tracker.get_tracker_snapshot("peak").values()
    return {name if isinstance(name, str) else name.value: size for name, size in found.items()}


@pytest.mark.parametrize("model_type", ["qwen2", "qwen3"])
def test_the_peak_with_gradient_checkpointing_is_torchs(model_type, make):
    config, tokens = {"model_type": model_type, **SMALL, "num_hidden_layers": 6}, 4096
    with FakeTensorMode():
        model = model_of(config, torch.bfloat16, checkpointing=True)
        tokens_in = torch.zeros(1, tokens, dtype=torch.long)
        # The mask of tokens × tokens that transformers makes of fake tensors does not exist in verl's packed batches.
        unmasked = {"full_attention": None}

        def forward():
            return model.model(tokens_in, attention_mask=unmasked, use_cache=False)[0].sum()

        found = peak([model], forward)
    expected = activation_bytes(make(compute_bytes=2, shape=read_shape(config, "m")), tokens)
    assert found["Activation"] + found["Temp"] == pytest.approx(expected, rel=0.001)


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_the_logits_peak_is_torchs(temperature, make):
    from tooln1.platforms.cpu.verl_patches import compute_log_probs_at_once

    functions = types.SimpleNamespace(logprobs_from_logits_v2=None)
    compute_log_probs_at_once(functions)
    tokens, vocab, hidden = 512, 4000, 16
    with FakeTensorMode():
        head, states = torch.nn.Linear(hidden, vocab, bias=False), torch.zeros(tokens, hidden, requires_grad=True)
        labels = torch.zeros(tokens, dtype=torch.long)

        def forward():
            logits = head(states)
            if temperature != 1.0:
                logits = logits / temperature
            return functions.logprobs_from_logits_v2(logits, labels).sum()

        found = peak([head, states], forward)
    shape = read_shape({"model_type": "qwen2", **SMALL, "num_hidden_layers": 1, "vocab_size": vocab}, "m")
    run = make(changes={FUSED: False}, temperature=temperature, compute_bytes=4, entropy=False, shape=shape)
    expected = logit_bytes(run, tokens, flash_attention=False)
    assert found["Activation"] + found["Temp"] == pytest.approx(expected, rel=0.03)


def test_the_fused_kernels_peak_is_bounded_by_the_formula(make):
    from verl.utils.experimental.torch_functional import FusedLinearForPPO

    tokens, vocab, hidden = 2048, 20_000, 128
    with FakeTensorMode():
        states = torch.zeros(tokens, hidden, dtype=torch.bfloat16, requires_grad=True)
        weights = torch.zeros(vocab, hidden, dtype=torch.bfloat16, requires_grad=True)
        labels = torch.zeros(tokens, dtype=torch.long)
        found = peak([states, weights], lambda: FusedLinearForPPO()(states, weights, labels, 0.7)[0].sum())
    config = {"model_type": "qwen2", **SMALL, "num_hidden_layers": 1, "vocab_size": vocab, "hidden_size": hidden}
    run = make(changes={FUSED: True}, compute_bytes=2, shape=read_shape(config, "m"))
    expected = logit_bytes(run, tokens, flash_attention=False)
    assert 0.9 * expected < found["Activation"] + found["Temp"] < 1.1 * expected


@pytest.fixture
def seven(make, shape_of):
    """A run with seven billion parameters, on the eight GPUs of the recipe."""
    return lambda changes=None: make("tool_n1_grpo", changes, shape=shape_of("Qwen/Qwen2.5-7B-Instruct"))


def phases_of(run):
    return gpu_phases(run, 80 * GIB, flash_attention=True)


def test_seven_billion_parameters_are_shared_out_over_eight_gpus(seven):
    run = seven()
    phases, parameters = phases_of(run), run.shape.parameters
    # Weights and gradients in float32, two moments of Adam, an eighth of each on every GPU.
    assert phases["update"]["weights"] == phases["update"]["gradients"] == parameters * 4 // 8
    assert phases["update"]["optimizer"] == parameters * 8 // 8
    assert phases["generation"]["engine's share"] == round(run.memory_share * 80 * GIB)
    assert phases["weight sync"]["engine's weights"] == parameters * 2 // run.tensor_parallel


def test_offloading_empties_the_gpu_during_generation_only(seven):
    kept, offloaded = (
        phases_of(seven({f"{FSDP}.param_offload": away, f"{FSDP}.optimizer_offload": away})) for away in (False, True)
    )
    assert {"weights", "optimizer"} <= kept["generation"].keys()
    assert not {"weights", "optimizer"} & offloaded["generation"].keys()
    assert kept["update"] == offloaded["update"]


def test_adapters_alone_have_gradients_and_moments(seven):
    run = seven({"actor_rollout_ref.model.lora_rank": 32})
    update, adapters = phases_of(run)["update"], trained_parameters(run)
    assert adapters == run.shape.lora_parameters(32, "all-linear")
    assert update["gradients"] == adapters * 4 // 8
    assert update["optimizer"] == adapters * 8 // 8
    assert update["weights"] == (run.shape.parameters + adapters) * 4 // 8


def test_the_fused_kernel_and_a_temperature_of_one_save_logits(seven):
    plain, cool, fused = (
        logit_bytes(seven({FUSED: fuse, f"{ROLLOUT}.temperature": heat}), 30_000, flash_attention=True)
        for fuse, heat in ((False, 0.7), (False, 1.0), (True, 0.7))
    )
    assert plain == 2 * cool > fused


def test_an_engine_that_stays_awake_holds_its_share_during_the_update(seven):
    run = seven({f"{ROLLOUT}.free_cache_engine": False})
    assert phases_of(run)["update"]["awake engine"] == round(run.memory_share * 80 * GIB)


def test_the_cache_is_what_is_left_of_the_engines_share(seven):
    parallel, share = f"{ROLLOUT}.tensor_model_parallel_size", f"{ROLLOUT}.gpu_memory_utilization"
    small, large = (cache_tokens(seven({parallel: 2, share: size}), 80 * GIB) for size in (0.5, 0.6))
    # 28 layers × key and value × 4 heads of 128 in two bytes are 57,344 bytes a token, half of them on each GPU.
    assert large - small == pytest.approx(0.1 * 80 * GIB / (57_344 / 2), abs=2)
    fixed = seven({parallel: 1, f"{ROLLOUT}.engine_kwargs.vllm.kv_cache_memory_bytes": 1 << 30})
    assert cache_tokens(fixed, 0) == (1 << 30) // 57_344
