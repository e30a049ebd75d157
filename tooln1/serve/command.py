"""``tooln1 serve``: `vllm serve` with the chat template, the parsers and the settings that the reply format needs."""

import hashlib
import importlib.util
import os
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from tooln1.errors import UserError
from tooln1.files import atomic_path
from tooln1.preflight.model import check_model, hub_is_offline
from tooln1.prompt import load_model_template
from tooln1.reward_score.toolcall import THINK
from tooln1.serve.chat_template import own_template, prologue

PLUGIN = Path(__file__).with_name("vllm_plugin.py")

# float32, as in the rollouts of the CPU recipe: vLLM would round to bfloat16. Compiling takes minutes and a compiler.
CPU_SETTINGS = ("--dtype=float32", "--enforce-eager")
# Each unless the environment has it. vLLM would take half of the memory for its cache, which is counted in GiB here.
CPU_ENVIRONMENT = {"TORCHDYNAMO_DISABLE": "1", "VLLM_CPU_KVCACHE_SPACE": "2"}


def build_command(
    checkpoint: str, options: Sequence[str], template: str | None = None
) -> tuple[list[str], dict[str, str]]:
    """Return the command that serves a checkpoint, and what its environment needs besides this process's own.

    Args:
        checkpoint: a model folder, or a name on the Hugging Face hub.
        options: options of `vllm serve`, which win over those given here; ``--chat-template`` replaces the
            checkpoint's own chat template.
        template: a prompt template's file, or the name of one in tooln1/templates/ ("compact"); by default the one
            that the checkpoint notes, or the thinking template.

    Raises:
        UserError: vLLM is missing, the checkpoint is missing or broken, or a template is.
    """
    if importlib.util.find_spec("vllm") is None:
        raise UserError(
            'vLLM is not installed here; run: pip install -e ".[vllm]" (or, without a GPU, bash examples/setup_cpu.sh)'
        )
    _check_checkpoint(checkpoint)
    text = load_model_template(checkpoint, template)
    own, options = _take_option("--chat-template", options)
    chat_template = prologue(text) + (own_template(checkpoint) if own is None else _read(own))
    on_cpu = _vllm_is_for_cpu()
    start = ["-m", "vllm.entrypoints.cli.main", "serve", checkpoint]
    if on_cpu:
        # The command line of the CPU build, which is called vllm-cpu, asks for the version of a package called vllm.
        start = ["-m", "vllm.entrypoints.openai.api_server", "--model", checkpoint]
    settings = [*_settings(_store(chat_template), THINK in text), *(CPU_SETTINGS if on_cpu else ())]
    environment = {key: value for key, value in CPU_ENVIRONMENT.items() if on_cpu and key not in os.environ}
    return [sys.executable, *start, *settings, *options], environment


def run(command: Sequence[str], environment: Mapping[str, str]) -> None:
    """Become the server: this process's id and its terminal are the server's from here on."""
    os.execve(command[0], list(command), {**os.environ, **environment})


def _check_checkpoint(checkpoint: str) -> None:
    folder = Path(checkpoint)
    for part in (folder, folder / "actor"):
        if list(part.glob("model_world_size_*_rank_*.pt")):
            raise UserError(
                f"{checkpoint}: a checkpoint of verl's, in parts; merge it first: python -m verl.model_merger merge "
                f"--backend fsdp --local_dir {part} --target_dir MERGED"
            )
    check_model(checkpoint, 1, offline=hub_is_offline())


def _take_option(name: str, options: Sequence[str]) -> tuple[str | None, list[str]]:
    """Return the value of an option, given as "--name value" or "--name=value", and the other options."""
    value, rest = None, []
    remaining = iter(options)
    for option in remaining:
        if option == name:
            value = next(remaining, None)
            if value is None:
                raise UserError(f"{name}: expected a file after it")
        elif option.startswith(f"{name}="):
            value = option.partition("=")[2]
        else:
            rest.append(option)
    return value, rest


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"--chat-template {path}: cannot be read: {error}") from None


def _store(chat_template: str) -> Path:
    """Write the template where it outlives this process; the same text is always the same file."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tooln1" / "chat_templates"
    path = cache / f"{hashlib.sha256(chat_template.encode()).hexdigest()[:16]}.jinja"
    if not path.is_file():
        with atomic_path(path) as temporary:
            temporary.write_text(chat_template, encoding="utf-8")
    return path


def _settings(chat_template: Path, reasons: bool) -> list[str]:
    settings = [f"--chat-template={chat_template}", "--chat-template-content-format=string"]
    settings += ["--enable-auto-tool-choice", f"--tool-parser-plugin={PLUGIN}"]
    if reasons:
        settings += ["--tool-call-parser=tool_n1"]
        settings += ["--reasoning-parser=tool_n1", f"--reasoning-parser-plugin={PLUGIN}"]
        # A grammar that a request asks for then holds from the first character: those of calls begin with <think>.
        settings += ["--structured-outputs-config.enable_in_reasoning=true"]
    else:
        settings += ["--tool-call-parser=tool_n1_direct"]
    # Where xgrammar cannot read a grammar vLLM tries another backend, which fails on every tag that is a token.
    settings += ["--structured-outputs-config.backend=xgrammar"]
    # The model has learned to call whenever it sees tools, so a request that forbids calls shows it none.
    settings += ["--exclude-tools-when-tool-choice-none"]
    # A generation_config.json may ask for top-p or punish repetition, as training did not: the request decides alone.
    return [*settings, "--generation-config=vllm"]


def _vllm_is_for_cpu() -> bool:
    try:
        return bool(version("vllm-cpu"))
    except PackageNotFoundError:
        return False
