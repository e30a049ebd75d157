"""An endpoint that knows the ground truth of its cases, and the responses that it can give."""

import json
from dataclasses import replace

from fake_endpoint import FakeEndpoint, completion

from tooln1.eval.form import Form, read_response
from tooln1.prompt import format_response, load_template

REASONING = "this is what was asked for"
FORM = Form(load_template())


def ground_truth(case, turn=0):
    """The calls of a turn."""
    return case.ground_truth[turn] if "turns" in case.data else case.ground_truth


def say(case, turn=0):
    """The response that holds a case's ground truth."""
    return format_response(ground_truth(case, turn), REASONING)


def damaged(calls):
    """Calls with one argument of each replaced by an object that no tool takes."""
    calls = [{"name": call["name"], "arguments": dict(call["arguments"])} for call in calls]
    for call in calls:
        call["arguments"][next(iter(call["arguments"]), "damaged")] = {"damaged": True}
    return calls


def say_damaged(case, turn=0):
    return format_response(damaged(ground_truth(case, turn)), REASONING)


def say_prose(case, turn=0):
    return "I would rather talk about it."


def messages(case):
    """The prompt that asks for a case's first response."""
    return FORM.request(case, case.turns)["messages"]


def read_all(case, respond):
    """What is read from a conversation in which `respond(case, turn)` answers each turn of the user."""
    readings = []
    for turn in range(len(case.data.get("turns", [0]))):
        readings.append(read_response(respond(case, turn)))
        if "turns" in case.data and readings[-1].calls:
            readings.append(read_response(say_prose(case)))
    return replace(readings[-1], earlier=tuple(readings[:-1]))


def judge_all(benchmark, respond):
    """The mistakes in `respond(case, turn)` for all cases."""
    return benchmark.judge_all({case.id: read_all(case, respond) for case in benchmark.cases})


class Oracle(FakeEndpoint):
    """Answers prompts by `answer(case)`: a response, a message, or (status, body)."""

    def __init__(self):
        self.cases, self.answer = {}, say
        super().__init__()

    def know(self, benchmark, form=FORM):
        """Take a benchmark's cases, by their prompts."""
        for case in benchmark.cases:
            self.cases[json.dumps(form.request(case, case.turns)["messages"])] = case

    def respond(self, path, body):
        if path == "/v1/models":
            return 200, {"data": [{"id": "oracle"}]}
        if path == "/v1/chat/completions":
            case = self.cases[json.dumps(body["messages"])]
            found = self.counted(case.id, lambda times: self.answer(case))
            found = {"content": found} if isinstance(found, str) else found
            return (200, completion(message=found)) if isinstance(found, dict) else found
        return 404, {"error": {"message": "no such address"}}
