"""Serves a model and talks to it as any OpenAI client would: question, call, result, next question.

    python examples/serve_and_call.py MODEL [OPTIONS of tooln1 serve]

The tools and questions are those of the quickstart's world, which the tiny model knows; a larger model can use them.
"""

import argparse
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tooln1.errors import run_command
from tooln1.serve.server import served


def tool(name: str, /, **types: str) -> dict[str, Any]:
    """Describe a tool with these parameters."""
    properties = {parameter: {"type": kind} for parameter, kind in types.items()}
    parameters = {"type": "object", "properties": properties}
    return {"type": "function", "function": {"name": name, "parameters": parameters}}


TOOLS = [
    tool("find_hotel", city="string"),
    tool("book_hotel", city="string", days="integer"),
    tool("call_taxi", name="string"),
]
RESULT = "done"  # what the tools of the quickstart's world return
QUESTIONS = ['find a hotel in "Oslo"', "book a hotel there for 3 days"]
UNFIT = "order 4 pizza"


class Conversation:
    """One chat with a server, printed as it happens."""

    def __init__(self, client: Any, model: str):
        self._ask = lambda messages, **fields: client.chat.completions.create(
            model=model, messages=messages, tools=TOOLS, temperature=0, max_tokens=1024, **fields
        )
        self._messages: list[Any] = []

    def ask(self, question: str) -> None:
        """Ask, and give every call of the answer the tools' result."""
        self._say({"role": "user", "content": question})
        choice = self._ask(self._messages).choices[0]
        message = choice.message
        self._messages.append(message.model_dump(exclude_none=True))
        calls = message.tool_calls or []
        print(f"  thinks  {getattr(message, 'reasoning', None) or 'nothing'}")
        for call in calls:
            print(f"  calls   {call.function.name} {call.function.arguments}")
        if not calls:
            print(f"  says    {message.content or 'nothing'}")
        print(f"  ends    {choice.finish_reason}")
        for call in calls:
            self._say({"role": "tool", "tool_call_id": call.id, "content": RESULT})

    def stream(self, question: str) -> None:
        """Ask, and print every delta of the answer."""
        self._say({"role": "user", "content": question})
        for chunk in self._ask(self._messages, stream=True):
            fields = chunk.choices[0].delta.model_dump(exclude_unset=True)
            delta = {key: value for key, value in fields.items() if value}
            print(f"  delta   {delta}  {chunk.choices[0].finish_reason or ''}")

    def _say(self, message: dict[str, Any]) -> None:
        self._messages.append(message)
        print(f"{message['role']:9} {message['content']}")


def talk(model: Path, options: Sequence[str]) -> None:
    """Serve the model, and hold three conversations."""
    import openai

    folder = Path(tempfile.mkdtemp(prefix="tooln1-serve-"))  # holds the log, and stays if the server fails
    print(f"starting a server for {model}", flush=True)
    with served(model, folder / "server.log", options) as address:
        client = openai.OpenAI(base_url=address, api_key="none")
        name = client.models.list().data[0].id
        conversation = Conversation(client, name)
        for question in QUESTIONS:
            conversation.ask(question)
        print("\nthe first question again, streamed")
        Conversation(client, name).stream(QUESTIONS[0])
        print("\nwhat no tool fits")
        Conversation(client, name).ask(UNFIT)
    shutil.rmtree(folder)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model", type=Path, help="an exported model")
    parser.add_argument("options", nargs=argparse.REMAINDER, help="options of tooln1 serve")
    arguments = parser.parse_args()
    run_command(lambda: talk(arguments.model, arguments.options))
