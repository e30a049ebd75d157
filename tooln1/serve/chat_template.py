"""The chat template that a server renders requests with: our prompt, then the checkpoint's own turns.

A request brings `tools` and OpenAI's turns. prologue.jinja rewrites them into the messages of
`tooln1.prompt.build_messages`, and the checkpoint's own chat template, unchanged, follows it in the same file. Training
applies that template to those messages, so served prompts are its prompts, byte for byte. Messages that come without
tools, for instance such as `build_messages` has made already, pass through as they are.
"""

from importlib.resources import files
from pathlib import Path

from tooln1.errors import UserError
from tooln1.prompt import TOOLS_MARK, load_template


def served_template(checkpoint: str | Path, prompt_template: str | None = None) -> str:
    """Return the chat template to serve a checkpoint with.

    Args:
        checkpoint: a model folder, or a name on the Hugging Face hub.
        prompt_template: the text of the prompt template that it was trained with; the thinking template by default.

    Raises:
        UserError: the checkpoint's tokenizer cannot be loaded, or has no chat template.
        tooln1.prompt.TemplateError: `{tools}` does not stand in the prompt template exactly once.
    """
    return prologue(prompt_template) + own_template(checkpoint)


def own_template(checkpoint: str | Path) -> str:
    """Return the checkpoint's own chat template.

    Raises:
        UserError: its tokenizer cannot be loaded, or has none.
    """
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    except Exception as error:  # each kind of tokenizer, and the hub, fails in its own way
        raise UserError(f"{checkpoint}: the tokenizer cannot be loaded: {error}") from None
    try:
        return tokenizer.get_chat_template()
    except ValueError:
        raise UserError(
            f"{checkpoint}: the tokenizer has no chat template; give the one it was trained with: --chat-template FILE"
        ) from None


def prologue(prompt_template: str | None = None) -> str:
    """Return prologue.jinja with the text of a prompt template filled in.

    Raises:
        tooln1.prompt.TemplateError: `{tools}` does not stand in the prompt template exactly once.
    """
    text = load_template() if prompt_template is None else prompt_template
    before, after = text.split(TOOLS_MARK)
    jinja = files("tooln1.serve").joinpath("prologue.jinja").read_text(encoding="utf-8")
    head, middle = jinja.split("@BEFORE@")
    middle, tail = middle.split("@AFTER@")
    return f"{head}{_literal(before)}{middle}{_literal(after)}{tail.rstrip()}"


def _literal(text: str) -> str:
    """A string of Jinja's: it reads escapes as Python does, and lets lines break."""
    lines = (line.encode("unicode_escape").decode("ascii").replace('"', '\\"') for line in text.split("\n"))
    return '"' + "\n".join(lines) + '"'
