"""What `tooln1 serve` puts in front of vLLM's server: the API key for every path, and limits for what a request asks.

vLLM itself asks for the key under /v1 and a few other paths only, and compiles any schema it is sent.
"""

import asyncio
import hmac
import json
import os
from collections.abc import Mapping
from typing import Any

from tooln1.errors import UserError
from tooln1.serve.schemas import check_request

KEYS_VARIABLE = "TOOLN1_API_KEYS"  # one a line; a variable, because anyone may read a command line
OPEN_PATHS = ("/health", "/ping")


class Guard:
    """ASGI middleware, for vLLM's ``--middleware``."""

    def __init__(self, app: Any):
        self._app = app
        self._keys = os.environ.get(KEYS_VARIABLE, "").split("\n")
        self._keys = [key.encode() for key in self._keys if key]

    async def __call__(self, scope: Mapping[str, Any], receive: Any, send: Any) -> None:
        """Answer a request, or pass it on."""
        if scope["type"] not in ("http", "websocket"):
            return await self._app(scope, receive, send)
        headers = dict(scope["headers"])
        if self._keys and not self._is_open(scope, headers):
            if scope["type"] == "websocket":
                return await send({"type": "websocket.close", "code": 1008})
            return await _answer(send, 401, "this server needs its API key: Authorization: Bearer KEY")
        if scope["type"] == "http" and b"json" in headers.get(b"content-type", b""):
            body, receive = await _read(receive)
            try:
                await asyncio.to_thread(check_request, body)
            except UserError as error:
                return await _answer(send, 400, str(error))
        await self._app(scope, receive, send)

    def _is_open(self, scope: Mapping[str, Any], headers: Mapping[bytes, bytes]) -> bool:
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        # A browser asks without a key whether it may send one; the middleware for that answers it itself.
        preflight = scope.get("method") == "OPTIONS" and b"access-control-request-method" in headers
        scheme, _, key = headers.get(b"authorization", b"").partition(b" ")
        known = [hmac.compare_digest(key.strip(), known) for known in self._keys]
        return path in OPEN_PATHS or preflight or (scheme.lower() == b"bearer" and any(known))


async def _read(receive: Any) -> tuple[bytes, Any]:
    """Return the body, and a `receive` that gives it once more."""
    body, more = bytearray(), True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    messages = [{"type": "http.request", "body": bytes(body)}]

    async def again() -> Any:
        return messages.pop() if messages else await receive()

    return bytes(body), again


async def _answer(send: Any, status: int, message: str) -> None:
    body = json.dumps({"error": {"message": message, "type": "invalid_request_error", "code": status}}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
