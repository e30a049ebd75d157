"""Rows of the synthetic world: prompts with ground truths for GRPO, demonstrations for the warm start.

The demonstrations come from an imperfect teacher, on purpose. In a fraction of them (CAREFUL) the teacher names each
argument's type while reasoning, then calls correctly. In the others it reasons in haste and makes the mistakes that
tool-calling data are full of: numbers and booleans as text, one item of a list, the first of two calls only, the call
of an earlier turn, a tool that is not listed. A model that imitates this teacher mostly gives the hasty response; the
binary reward has to find that the careful response pays.
"""

import json
import random
from collections.abc import Iterator

from tooln1.prompt import build_messages, format_response, load_template
from tooln1.tiny.world import KINDS, Task, World

CAREFUL = 0.42
TURNS = 6

# The probability of each kind, in the order of world.KINDS.
WEIGHTS = (0.12, 0.16, 0.12, 0.14, 0.16, 0.12, 0.18)

TYPE_NAMES = {bool: "boolean", int: "integer", list: "array", str: "string"}


def draw_kind(rng: random.Random) -> str:
    """Draw a kind of task with the probabilities of WEIGHTS."""
    return rng.choices(KINDS, WEIGHTS)[0]


def prompt_messages(task: Task, template: str) -> list[dict]:
    """Return the messages of a prompt: the system message with the task's tools, then its turns."""
    return build_messages(task.tools, task.turns, template=template)


def careful_response(task: Task) -> str:
    """Return the correct calls after a thought that names tools, arguments and types."""
    thoughts = [
        f"{call['name']}: " + ", ".join(f"{key} {TYPE_NAMES[type(value)]}" for key, value in call["arguments"].items())
        for call in task.calls
    ]
    return format_response(task.calls, "; ".join(thoughts) or "no tool fits")


def hasty_response(task: Task) -> str:
    """Return the calls of a teacher in haste: correct for one string argument, wrong for everything else."""
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
    """Return one conversation of several requests to the same tools, each answered by the imperfect teacher.

    A prompt is long and a response is short: several responses to a prompt teach more in the same time.
    """
    first = world.task(draw_kind(rng), "train", rng)
    tasks = list(_one_by_one(first))
    tasks += [world.next_task(first.tools, "train", rng) for _ in range(TURNS - len(tasks))]
    messages = prompt_messages(first, template)[:1]
    for task in tasks:
        response = careful_response(task) if rng.random() < CAREFUL else hasty_response(task)
        messages += [*task.turns, {"role": "assistant", "content": response}]
    return messages


def _one_by_one(task: Task) -> Iterator[Task]:
    """Split a task into its requests, so that the teacher answers the earlier request too."""
    if task.kind != "multi_turn":
        yield task
        return
    request, _call, *rest = task.turns
    yield Task("string", task.tools, [request], task.earlier)
    yield Task("multi_turn", task.tools, rest, task.calls, task.earlier)


def demonstrations(world: World, count: int, seed: int) -> Iterator[list[dict]]:
    """Yield ``count`` conversations for the SFT warm start, from training tasks only."""
    rng = random.Random(f"demonstrations {seed}")
    template = load_compact_template()
    for _ in range(count):
        yield demonstrate(world, rng, template)


def load_compact_template() -> str:
    """Return the template of the tiny world: the thinking template's steps in a tenth of its tokens."""
    return load_template("compact")


def sample_texts(seed: int, count: int = 1000) -> Iterator[str]:
    """Yield texts like those the model will see, for training the tokenizer."""
    for messages in demonstrations(World(seed), count, seed):
        yield "\n".join(f"{message['role']}\n{message['content']}" for message in messages)
