"""An endpoint that knows the reference calls of its cases, and the replies that it can give."""

import json

from fake_endpoint import FakeEndpoint, completion

from tooln1.prompt import format_reply

REASONING = "this is what was asked for"


def say(case):
    """The reply that holds a case's reference calls."""
    return format_reply(case.reference, REASONING)


def say_damaged(case):
    """The same with one argument of every call replaced by an object that no tool takes."""
    calls = [{"name": call["name"], "arguments": dict(call["arguments"])} for call in case.reference]
    for call in calls:
        call["arguments"][next(iter(call["arguments"]), "damaged")] = {"damaged": True}
    return format_reply(calls, REASONING)


def say_prose(case):
    return "I would rather talk about it."


class Server(FakeEndpoint):
    """Answers prompts by `answer(case, times)`: a reply, or (status, body) with text or bytes as the body.

    `times` counts how often the case was asked. `completions` says whether the server renders prompts itself, as vLLM
    does; `split` whether it returns the reasoning apart in a chat.
    """

    def __init__(self, completions=False, split=False):
        self.cases, self.completions, self.split = {}, completions, split
        self.answer = lambda case, times: say(case)
        super().__init__()

    def know(self, benchmark):
        """Take a benchmark's cases, by their prompts."""
        for case in benchmark.cases:
            self.cases[json.dumps(case.messages)] = case

    def respond(self, path, body):
        if path == "/v1/models":
            return 200, {"data": [{"id": "oracle"}]}
        if path == "/tokenize" and self.completions:
            # As many bytes as the prompt's text has: what comes back decodes to the messages.
            tokens = list(json.dumps(body["messages"]).encode())
            return 200, {"tokens": tokens, "count": len(tokens), "max_model_len": 10_000_000}
        if path == "/v1/completions" and self.completions:
            return self._answer(bytes(body["prompt"]).decode(), lambda reply: {"text": reply})
        if path == "/v1/chat/completions":
            return self._answer(json.dumps(body["messages"]), lambda reply: {"message": self._message(reply)})
        return 404, {"error": {"message": "no such address"}}

    def _answer(self, prompt, choice):
        case = self.cases[prompt]
        found = self.counted(case.id, lambda times: self.answer(case, times))
        return (200, completion(**choice(found))) if isinstance(found, str) else found

    def _message(self, reply):
        if not self.split or "</think>" not in reply:
            return {"role": "assistant", "content": reply}
        reasoning, content = reply.removeprefix("<think>").split("</think>", 1)
        return {"role": "assistant", "content": content, "reasoning_content": reasoning}
