"""What a model folder says about its prompt: a note of its prompt template, and a chat template that writes the prompt.

The chat template has two parts. The first, templates/chat_template.jinja, turns OpenAI's messages and `tools` into the
messages of `tooln1.prompt.build_messages`. The second is the model's own, with which it was trained. So
`apply_chat_template(messages, tools=...)` gives the prompt of training in every program that renders chat templates.
"""

import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tooln1.errors import UserError
from tooln1.files import one_line, read_text, write_text
from tooln1.prompt import load_template, opens_reasoning, split_template

# Tells the parsers of a server which chat template replaces the tokenizer's own.
CHAT_TEMPLATE_VARIABLE = "TOOLN1_CHAT_TEMPLATE"

_NOTE, _FILE = "prompt_template.txt", "chat_template.jinja"  # in a model folder
_EXTENSION = Path(__file__).with_name("templates").joinpath(_FILE).read_text(encoding="utf-8")
_BEGIN, _END = "{#- tooln1:", "{%- set tools = none %}\n"  # of every extension, those of earlier versions too


def load_model_template(model: str | Path, template: str | Path | None = None) -> str:
    """Return the prompt template for a model: the given one, else the one that its folder notes, else "thinking".

    Args:
        model: a model folder, or a name on the hub.
        template: as for `load_template`.

    Raises:
        TemplateError: as `load_template`.
    """
    noted = Path(model) / _NOTE
    return load_template(noted if template is None and noted.is_file() else template)


def read_chat_template(model: str | Path) -> str:
    """Return the chat template of a model folder, or of a model on the hub.

    Raises:
        UserError: the tokenizer cannot be loaded, or has no chat template.
    """
    path = Path(model) / _FILE
    return read_text(path) if path.is_file() else load_tokenizer(model).get_chat_template()


def load_tokenizer(model: str | Path, chat_template: str | None = None) -> Any:
    """Return the tokenizer of a model folder, or of a model on the hub.

    Args:
        chat_template: replaces the tokenizer's own.

    Raises:
        UserError: the tokenizer cannot be loaded, or has no chat template.
    """
    # transformers prints advice where torch is missing, and warns of texts longer than the model reads.
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(model, trust_remote_code=False)
    except Exception as error:  # each kind of tokenizer, and the hub, fails in its own way
        reason = f"{type(error).__name__}: {one_line(error, 160)}"
        raise UserError(f"{model}: the tokenizer does not load ({reason}); save it again with the model") from None
    if chat_template:
        tokenizer.chat_template = chat_template
    if not tokenizer.chat_template:
        raise UserError(
            f"{model}: the tokenizer has no chat template; take an instruction-tuned model, or add a "
            f"{_FILE} beside the tokenizer"
        )
    return tokenizer


def template_opens_reasoning(tokenizer: Any, options: Mapping[str, Any] | None = None) -> bool:
    """Return whether prompts end with an open <think> (`tooln1.prompt.opens_reasoning`), judged by a short one.

    Args:
        tokenizer: of transformers.
        options: further arguments of the chat template, such as enable_thinking; a chat_template replaces its own.
    """
    arguments = {**(options or {}), "add_generation_prompt": True, "continue_final_message": False, "tokenize": False}
    try:
        return opens_reasoning(tokenizer.apply_chat_template([{"role": "user", "content": "Hello"}], **arguments))
    except Exception:  # a template may refuse what it likes
        return False


def write_chat_template(model: Path, template: str) -> None:
    """Let a model folder carry the prompt of its training: the note of its prompt template, and the chat template.

    Raises:
        UserError: the tokenizer cannot be loaded or has no chat template.
        TemplateError: the prompt template does not hold `{tools}` exactly once.
    """
    chat_template = build_chat_template(read_chat_template(model), template)
    # transformers would prefer a further template, made for requests with tools, to the one that training used.
    shutil.rmtree(model / "additional_chat_templates", ignore_errors=True)
    write_text(model / _FILE, chat_template)
    write_text(model / _NOTE, template)


def build_chat_template(chat_template: str, template: str | None = None) -> str:
    """Return a model's own chat template, extended so that it writes the prompt of `build_messages` itself.

    `tools` and OpenAI's messages become the messages of `build_messages`; messages without tools stay as they are.

    Args:
        chat_template: the chat template with which the model was trained; an earlier extension is replaced.
        template: the text of a prompt template; the thinking template by default.

    Raises:
        TemplateError: the prompt template does not hold `{tools}` exactly once.
    """
    before, after = split_template(template)
    texts = {"before": _escape(before.lstrip()), "after": _escape(after.rstrip())}
    extension = re.sub("@(before|after)@", lambda mark: texts[mark[1]], _EXTENSION)
    return extension + split_chat_template(chat_template)[1]


def split_chat_template(chat_template: str) -> tuple[str, str]:
    """Return the extension of `build_chat_template`, "" if there is none, and the model's own chat template."""
    if not chat_template.startswith(_BEGIN):
        return "", chat_template
    extension, end, own = chat_template.partition(_END)
    return extension + end, own


def _escape(text: str) -> str:
    """Write a text as the inside of a Jinja string, with no escapes but those that every engine knows."""
    for character, escape in (("\\", "\\\\"), ('"', '\\"'), ("\n", "\\n"), ("\r", "\\r"), ("\t", "\\t")):
        text = text.replace(character, escape)
    return text
