"""An endpoint that knows the ground truth of its cases, and the responses that it can give."""

import json

from fake_endpoint import FakeEndpoint, completion

from tooln1.eval.benchmark import read_response
from tooln1.prompt import format_response

REASONING = "this is what was asked for"


def say(case):
    """The response that holds a case's ground truth."""
    return format_response(case.ground_truth, REASONING)


def say_damaged(case):
    """The same with one argument of every call replaced by an object that no tool takes."""
    calls = [{"name": call["name"], "arguments": dict(call["arguments"])} for call in case.ground_truth]
    for call in calls:
        call["arguments"][next(iter(call["arguments"]), "damaged")] = {"damaged": True}
    return format_response(calls, REASONING)


def say_prose(case):
    return "I would rather talk about it."


def judge_all(benchmark, respond):
    """The mistakes in `respond(case)` for all cases."""
    return benchmark.judge_all({case.id: read_response(respond(case)) for case in benchmark.cases})


class Oracle(FakeEndpoint):
    """Answers prompts by `answer(case)`: a response, or (status, body)."""

    def __init__(self):
        self.cases, self.answer = {}, say
        super().__init__()

    def know(self, benchmark):
        """Take a benchmark's cases, by their prompts."""
        for case in benchmark.cases:
            self.cases[json.dumps(case.messages)] = case

    def respond(self, path, body):
        if path == "/v1/models":
            return 200, {"data": [{"id": "oracle"}]}
        if path == "/v1/chat/completions":
            case = self.cases[json.dumps(body["messages"])]
            found = self.counted(case.id, lambda times: self.answer(case))
            return (200, completion(message={"content": found})) if isinstance(found, str) else found
        return 404, {"error": {"message": "no such address"}}
