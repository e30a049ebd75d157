"""A local OpenAI-compatible endpoint over HTTP, and the replies that it can give to a case."""

import json
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

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


class Server:
    """Answers prompts by `answer(case, times)`: a reply, or (status, body) with text or bytes as the body.

    `times` counts how often the case was asked. `completions` says whether the server renders prompts itself, as vLLM
    does; `split` whether it returns the reasoning apart in a chat.
    """

    def __init__(self, completions=False, split=False):
        self.cases, self.asked, self.bodies = {}, Counter(), []
        self.completions, self.split = completions, split
        self.answer = lambda case, times: say(case)
        self.most_open = self._open = 0
        self._lock = threading.Lock()
        handler = type("Handler", (_Handler,), {"server_side": self})
        self._http = _Http(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self._http.server_port}/v1"
        threading.Thread(target=self._http.serve_forever, daemon=True).start()

    def know(self, benchmark):
        """Take a benchmark's cases, by their prompts."""
        for case in benchmark.cases:
            self.cases[json.dumps(case.messages)] = case

    def close(self):
        self._http.shutdown()
        self._http.server_close()

    def reply_to(self, path, body):
        """Return the status and the body of the response to a request."""
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
        with self._lock:
            self.asked[case.id] += 1
            self._open += 1
            self.most_open = max(self.most_open, self._open)
        found = self.answer(case, self.asked[case.id])
        with self._lock:
            self._open -= 1
        if not isinstance(found, str):
            return found
        usage = {"prompt_tokens": 100, "completion_tokens": 10}
        return 200, {"choices": [{"index": 0, "finish_reason": "stop", **choice(found)}], "usage": usage}

    def _message(self, reply):
        if not self.split or "</think>" not in reply:
            return {"role": "assistant", "content": reply}
        reasoning, content = reply.removeprefix("<think>").split("</think>", 1)
        return {"role": "assistant", "content": content, "reasoning_content": reasoning}


class _Http(ThreadingHTTPServer):
    request_queue_size = 128  # as many connections as a run opens at once


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def do_GET(self):
        self._respond(*self.server_side.reply_to(self.path, None))

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server_side.bodies.append(body)
        found = self.server_side.reply_to(self.path, body)
        if found is None:  # the connection breaks off
            self.close_connection = True
            self.connection.close()
            return
        self._respond(*found)

    def _respond(self, status, body):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        # The client waits as long as this says before it asks again.
        self.send_header("retry-after-ms", "1")
        self.end_headers()
        self.wfile.write(data)
