"""Every count equals that of the model which transformers and peft build from its configuration on the meta device."""

import pytest
import torch
from published_models import MODELS, QWEN3, sizes
from transformers import AutoConfig, AutoModelForCausalLM

from tooln1.checks.model_shape import ARCHITECTURES, read_shape
from tooln1.errors import UserError

SMALL = sizes(64, 2, 160, 4, 2, 300) | {"max_position_embeddings": 128, "head_dim": 24}


def on_meta(config):
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(AutoConfig.for_model(**config))


def count(parameters):
    return sum(parameter.numel() for parameter in parameters)


@pytest.mark.parametrize("name", MODELS)
def test_a_published_models_parameters_are_counted_exactly(name):
    config, billions = MODELS[name]
    shape, model = read_shape(config, name), on_meta(config)
    assert shape.parameters == count(model.parameters())
    assert shape.layer_parameters == count(model.model.layers[0].parameters())
    assert shape.parameters / 1e9 == pytest.approx(billions, rel=0.02)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("model_type", ARCHITECTURES)
def test_every_architecture_is_counted_with_its_biases_and_tied_embeddings(model_type, tied):
    config = {"model_type": model_type, **SMALL, "tie_word_embeddings": tied}
    assert read_shape(config, "m").parameters == count(on_meta(config).parameters())


@pytest.mark.parametrize(
    "targets, excludes",
    [
        ("all-linear", None),
        (["q_proj", "v_proj"], None),
        (["q_proj", "lm_head"], None),
        (r".*\.layers\.1\..*_proj", None),
        ("all-linear", r".*\.mlp\..*"),
        (["o_proj", "down_proj"], ["down_proj"]),
    ],
)
@pytest.mark.parametrize("model_type", ["qwen2", "qwen3", "llama"])
def test_lora_adapters_are_those_of_peft(model_type, targets, excludes):
    from peft import LoraConfig, TaskType, get_peft_model

    config = {"model_type": model_type, **SMALL, "tie_word_embeddings": False}
    lora = LoraConfig(task_type=TaskType.CAUSAL_LM, r=8, target_modules=targets, exclude_modules=excludes, bias="none")
    with torch.device("meta"):
        adapted = get_peft_model(on_meta(config), lora)
    trained = count(parameter for parameter in adapted.parameters() if parameter.requires_grad)
    assert read_shape(config, "m").lora_parameters(8, targets, excludes) == trained


def test_adapters_on_nothing_are_refused():
    with pytest.raises(UserError, match=r"target_modules=\['query'\]: no linear layer .* expected .* q_proj, k_proj"):
        read_shape({"model_type": "qwen2", **SMALL}, "m").lora_parameters(8, ["query"])


def test_keys_and_values_take_what_a_cache_of_transformers_takes():
    # Two layers, two key-value heads of 24: one key and one value each, in two bytes.
    assert read_shape({"model_type": "qwen3", **SMALL}, "m").kv_bytes_per_token(2) == 2 * 2 * (2 * 24) * 2


@pytest.mark.parametrize(
    "change, expected",
    [
        ({"model_type": "mamba"}, "m: \"model_type\" is 'mamba', for which there are no formulas"),
        ({"hidden_size": None}, 'm: "hidden_size" is None; expected a whole number'),
        ({"vocab_size": "300"}, "m: \"vocab_size\" is '300'"),
        ({"num_hidden_layers": True}, 'm: "num_hidden_layers" is True'),
        ({"num_key_value_heads": 0}, 'm: "num_key_value_heads" is 0'),
    ],
)
def test_what_makes_no_model_is_refused(change, expected):
    with pytest.raises(UserError) as error:
        read_shape({**QWEN3, **SMALL, **change}, "m")
    assert expected in str(error.value)
