"""``tooln1 serve``: `vllm serve` with the parsers and the settings that the response format needs."""

import importlib.util
import ipaddress
import os
import shlex
import socket
import sys
import tempfile
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from tooln1.chat_template import (
    CHAT_TEMPLATE_VARIABLE,
    build_chat_template,
    load_model_template,
    read_chat_template,
    split_chat_template,
)
from tooln1.checks.model_files import check_model
from tooln1.errors import UserError
from tooln1.files import read_text
from tooln1.processes import temporary_folders
from tooln1.reward_score.toolcall import THINK
from tooln1.serve.middleware import KEYS_VARIABLE

PARSERS = Path(__file__).with_name("vllm_parsers.py")

# float32, as in the rollouts of the CPU recipe: vLLM would round to bfloat16. Compiling takes minutes and a compiler.
CPU_SETTINGS = ("--dtype=float32", "--enforce-eager")
# The environment's own values win. vLLM would take half of the memory for its cache, which is counted in GiB here.
CPU_ENVIRONMENT = {"TORCHDYNAMO_DISABLE": "1", "VLLM_CPU_KVCACHE_SPACE": "2"}


def build_command(
    checkpoint: str,
    options: Sequence[str],
    template: str | None = None,
    chat_template: str | None = None,
    api_keys: Sequence[str] = (),
) -> tuple[list[str], dict[str, str]]:
    """Return the command that serves a model, and the variables to add to its environment.

    A model that carries its prompt (`tooln1 export`) is served as it is. For any other, or with another template, the
    chat template is put together in a temporary file.

    Args:
        checkpoint: a model folder, or a name on the Hugging Face hub.
        options: options of `vllm serve`, which win over the settings here.
        template: the prompt template: a file, or the name of one in tooln1/templates/; by default the one that the
            model notes, or the thinking template.
        chat_template: a file that replaces the model's own chat template.
        api_keys: what clients must send one of; by default the environment's VLLM_API_KEY, or nothing.

    Raises:
        UserError: vLLM is missing, or the model or a template is missing or broken.
    """
    if importlib.util.find_spec("vllm") is None:
        raise UserError(
            "vLLM is not installed here; run: bash examples/setup_gpu.sh vllm (without a GPU: examples/setup_cpu.sh)"
        )
    _check_checkpoint(checkpoint)
    carried = served = read_text(Path(chat_template)) if chat_template else read_chat_template(checkpoint)
    if template or not split_chat_template(carried)[0]:
        served = build_chat_template(carried, load_model_template(checkpoint, template))
    settings = _settings(reasons=THINK in split_chat_template(served)[0])
    start = ["-m", "vllm.entrypoints.cli.main", "serve", checkpoint]
    # The keys go into a variable: anyone may read a command line, and vLLM logs its options. Ours replaces vLLM's own
    # check, which covers fewer paths.
    keys = [key for key in (api_keys or [os.environ.get("VLLM_API_KEY")]) if key]
    environment = {KEYS_VARIABLE: "\n".join(keys), "VLLM_API_KEY": ""}
    if chat_template or served != carried:
        environment[CHAT_TEMPLATE_VARIABLE] = _write_temporary(served)
        settings.append(f"--chat-template={environment[CHAT_TEMPLATE_VARIABLE]}")
    if _vllm_is_for_cpu():
        # The command line of the CPU build, a package called vllm-cpu, asks for the version of a package called vllm.
        start = ["-m", "vllm.entrypoints.openai.api_server", "--model", checkpoint]
        settings += CPU_SETTINGS
        environment |= {key: value for key, value in CPU_ENVIRONMENT.items() if key not in os.environ}
    return [sys.executable, *start, *settings, *options], environment


def check_address(host: str, port: int, has_key: bool) -> None:
    """Check that a server can listen, and warn of one that answers strangers.

    Raises:
        UserError: the address is unknown, or the port is taken or not allowed.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET  # as vLLM chooses it
    try:
        address = socket.getaddrinfo(host or None, port, family, socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][4]
        with socket.socket(family, socket.SOCK_STREAM) as tried:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            tried.bind((address[0], port, *address[2:]))
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"cannot listen on {host}, port {port}: {reason}; choose another --port or --host") from None
    if not has_key and not ipaddress.ip_address(address[0].partition("%")[0]).is_loopback:
        print(
            f"warning: --host {host} without --api-key: whoever reaches port {port} may use the model", file=sys.stderr
        )


def show_command(command: Sequence[str], environment: Mapping[str, str]) -> str:
    """Return a command as a shell takes it, without its API keys."""
    shown = {key: "..." if key == KEYS_VARIABLE else value for key, value in environment.items() if value}
    return shlex.join([*(f"{key}={value}" for key, value in shown.items()), *command])


def run(command: Sequence[str], environment: Mapping[str, str], patience: int) -> None:
    """Replace this process by the server's supervisor, which has its process id and terminal, and no key to show."""
    supervisor = [sys.executable, "-m", "tooln1.serve.supervisor", str(patience)]
    os.execve(sys.executable, [*supervisor, *command], {**os.environ, **temporary_folders(), **environment})


def _check_checkpoint(checkpoint: str) -> None:
    if any(list(Path(checkpoint, part).glob("model_world_size_*_rank_*.pt")) for part in ("", "actor")):
        raise UserError(f"{checkpoint}: a checkpoint of verl, in shards; run: tooln1 export RUN_DIR --output MODEL")
    check_model(checkpoint)


def _write_temporary(chat_template: str) -> str:
    number, path = tempfile.mkstemp(".jinja", "tooln1-")
    with open(number, "w", encoding="utf-8") as file:
        file.write(chat_template)
    return path


def _settings(reasons: bool) -> list[str]:
    settings = ["--enable-auto-tool-choice", f"--tool-parser-plugin={PARSERS}"]
    settings += ["--middleware=tooln1.serve.middleware.Guard"]
    if reasons:
        settings += ["--tool-call-parser=tool_n1"]
        settings += ["--reasoning-parser=tool_n1", f"--reasoning-parser-plugin={PARSERS}"]
        # A request's grammar then holds from the first character: the grammar of calls begins with <think>.
        settings += ["--structured-outputs-config.enable_in_reasoning=true"]
    else:
        settings += ["--tool-call-parser=tool_n1_direct"]
    # If xgrammar cannot read a grammar, vLLM tries another backend, which fails on every tag that is a token.
    settings += ["--structured-outputs-config.backend=xgrammar"]
    # The model has learned to call whenever it sees tools, so a request that forbids calls shows it none.
    settings += ["--exclude-tools-when-tool-choice-none"]
    # A generation_config.json may set top-p or a penalty that training did not have: the request decides alone.
    return [*settings, "--generation-config=vllm"]


def _vllm_is_for_cpu() -> bool:
    try:
        return bool(version("vllm-cpu"))
    except PackageNotFoundError:
        return False
