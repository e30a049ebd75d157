"""Rows of the synthetic world: prompts with reference calls for GRPO, demonstrations for the warm start.

The demonstrations are those of an imperfect teacher, on purpose. In a share of them (CAREFUL) the teacher names each
argument's type while reasoning and then calls rightly; in the others it reasons in haste and makes the mistakes that
tool-calling data are full of: numbers and booleans as text, one item of a list, the first of two calls only, a call of
the turn before, a tool that is not listed. Imitation therefore ends mostly at the hasty reply, and the binary reward
has to find out that the careful one pays.
"""

import json
import random
from collections.abc import Iterator

from tooln1.prompt import build_messages, format_response, load_template
from tooln1.tiny.world import KINDS, Task, World

CAREFUL = 0.42
TURNS = 6

# How often each kind occurs in a mixture; in the order of world.KINDS.
WEIGHTS = (0.12, 0.16, 0.12, 0.14, 0.16, 0.12, 0.18)

TYPE_NAMES = {bool: "boolean", int: "integer", list: "array", str: "string"}


def draw_kind(rng: random.Random) -> str:
    """A kind of task, as often as WEIGHTS says."""
    return rng.choices(KINDS, WEIGHTS)[0]


def prompt_messages(task: Task, template: str) -> list[dict]:
    """The messages before the reply: system message with the task's tools, then its turns."""
    return build_messages(task.tools, task.turns, template=template)


def careful_reply(task: Task) -> str:
    """The right calls, after a thought that names tools, arguments and types."""
    thoughts = [
        f"{call['name']}: " + ", ".join(f"{key} {TYPE_NAMES[type(value)]}" for key, value in call["arguments"].items())
        for call in task.calls
    ]
    return format_response(task.calls, "; ".join(thoughts) or "no tool fits")


def hasty_reply(task: Task) -> str:
    """The calls of a teacher in haste: right for a single string argument, wrong for everything else."""
    if task.kind == "no_call":
        calls = [task.asked]
    elif task.kind == "parallel":
        calls = task.calls[:1]
    elif task.kind == "multi_turn":
        calls = task.earlier
    else:
        calls = [{"name": c["name"], "arguments": _as_text(c["arguments"])} for c in task.calls]
    return format_response(calls, calls[0]["name"])


def _as_text(arguments: dict) -> dict:
    texts = {}
    for key, value in arguments.items():
        if isinstance(value, list):
            value = value[0]
        texts[key] = value if isinstance(value, str) else json.dumps(value)
    return texts


def demonstrate(world: World, rng: random.Random, template: str) -> list[dict]:
    """One conversation of several requests to the same tools, each answered by the imperfect teacher.

    A prompt is long and a reply short: several replies to a prompt teach more in the same time.
    """
    first = world.task(draw_kind(rng), "train", rng)
    tasks = list(_one_by_one(first))
    tasks += [world.next_task(first.tools, "train", rng) for _ in range(TURNS - len(tasks))]
    messages = prompt_messages(first, template)[:1]
    for task in tasks:
        reply = careful_reply(task) if rng.random() < CAREFUL else hasty_reply(task)
        messages += [*task.turns, {"role": "assistant", "content": reply}]
    return messages


def _one_by_one(task: Task) -> Iterator[Task]:
    """``task`` as the requests it consists of, so that the earlier call, too, is answered by the teacher."""
    if task.kind != "multi_turn":
        yield task
        return
    request, _call, *rest = task.turns
    yield Task("string", task.tools, [request], task.earlier)
    yield Task("multi_turn", task.tools, rest, task.calls, task.earlier)


def demonstrations(world: World, count: int, seed: int) -> Iterator[list[dict]]:
    """``count`` conversations for the supervised warm start, from training tasks only."""
    rng = random.Random(f"demonstrations {seed}")
    template = load_compact_template()
    for _ in range(count):
        yield demonstrate(world, rng, template)


def load_compact_template() -> str:
    """The short template of the tiny world: the thinking template's steps in a tenth of its tokens."""
    return load_template("compact")


def sample_texts(seed: int, count: int = 1000) -> Iterator[str]:
    """Texts like those the model will see, for training the tokenizer."""
    for messages in demonstrations(World(seed), count, seed):
        yield "\n".join(f"{message['role']}\n{message['content']}" for message in messages)
