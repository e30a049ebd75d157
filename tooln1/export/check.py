"""Whether a model folder is one that transformers and vLLM can load, without loading its weights."""

from pathlib import Path

from tooln1.errors import UserError


def check_model_folder(folder: Path) -> None:
    """Load the configuration and the tokenizer, and compare the files' tensors with what the model is made of.

    Raises:
        UserError: the first thing that is missing or does not fit.
    """
    import torch
    from safetensors import SafetensorError, safe_open
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    try:
        config = AutoConfig.from_pretrained(folder)
        tokenizer = AutoTokenizer.from_pretrained(folder)
    except (OSError, ValueError) as error:
        raise UserError(f"{folder}: does not load: {error}") from None
    if not tokenizer.chat_template:
        raise UserError(f"{folder}: the tokenizer has no chat template; start from an instruction-tuned model")
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    shapes = {}
    for path in sorted(folder.glob("*.safetensors")):
        try:
            with safe_open(path, framework="pt") as file:
                shapes |= {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}
        except SafetensorError as error:
            raise UserError(f"{path}: not a complete safetensors file ({error})") from None
    tied = set(model.all_tied_weights_keys)
    for name, tensor in model.state_dict().items():
        if name not in shapes and name not in tied:
            raise UserError(f"{folder}: the weights lack {name}")
        if name in shapes and shapes[name] != tuple(tensor.shape):
            raise UserError(f"{folder}: {name} has shape {shapes[name]}, the configuration says {tuple(tensor.shape)}")
