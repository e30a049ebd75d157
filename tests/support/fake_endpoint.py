"""A local OpenAI-compatible endpoint over HTTP, for tests that say what it answers."""

import json
import os
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

# The client must not send what is for this machine to a proxy.
os.environ["no_proxy"] = "127.0.0.1"


class FakeEndpoint:
    """Serves until `close`, or the end of a with block. A subclass says in `respond` what a request gets.

    `asked` counts the requests by what `counted` is called with, `most_open` is the most that were open at a time, and
    `bodies` holds what was sent.
    """

    def __init__(self):
        self.asked, self.bodies = Counter(), []
        self.most_open = self._open = 0
        self._lock = threading.Lock()
        handler = type("Handler", (_Handler,), {"endpoint": self})
        self._http = _Http(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self._http.server_port}/v1"
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    def close(self):
        self._http.shutdown()
        self._http.server_close()

    def respond(self, path, body):
        """Return the status and the body, an object or bytes, of a response; None breaks the connection off."""
        raise NotImplementedError

    def counted(self, key, answer):
        """Return `answer(times)` for the request, which is the `times`th with this key."""
        with self._lock:
            self.asked[key] += 1
            times = self.asked[key]
            self._open += 1
            self.most_open = max(self.most_open, self._open)
        try:
            return answer(times)
        finally:
            with self._lock:
                self._open -= 1


def completion(**choice):
    """The answer that holds one choice, of 100 tokens of prompt and 10 of response."""
    usage = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}
    choices = [{"index": 0, "finish_reason": "stop", **choice}]
    return {"id": "x", "object": "chat.completion", "created": 0, "model": "m", "choices": choices, "usage": usage}


class _Http(ThreadingHTTPServer):
    # As many connections as a run opens at once: one that finds no place waits for seconds.
    request_queue_size = 128

    def handle_error(self, request, client_address):
        """Print nothing: a client that is killed, or stops waiting, is part of the tests."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def do_GET(self):
        self._send(self.endpoint.respond(self.path, None))

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.endpoint.bodies.append(body)
        self._send(self.endpoint.respond(self.path, body))

    def _send(self, response):
        if response is None:
            self.close_connection = True
            self.connection.close()
            return
        status, body = response
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        # The client waits as long as this says before it asks again.
        self.send_header("retry-after-ms", "1")
        self.end_headers()
        self.wfile.write(data)
