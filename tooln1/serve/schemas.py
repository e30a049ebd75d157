"""What a request may have compiled: limits that hold before anything compiles, and a trial of a tool's schema.

xgrammar compiles some short schemas for minutes, and vLLM has it do so while every other client waits.
"""

import json
import math
import random
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import cache, lru_cache
from typing import Any

from tooln1.errors import UserError
from tooln1.tools import ToolListError, normalize_tools

# Within these limits, a schema keeps vLLM's event loop for 0.1 s at most.
MAX_DEPTH = 64  # levels of JSON
MAX_COST, MAX_COST_OF_TOOLS = 2000, 10_000  # roughly JSON values
_MAX_DEPTH_OF_TOOLS = 128  # which a chat template can still write
_STEPS = 2000  # bytes of the arguments that a trial writes at most


def cost(value: Any) -> float:
    """Return how much work a constraint is, in JSON values; infinity if it is nested too deeply."""
    if _is_deeper(value, MAX_DEPTH):
        return math.inf
    total, left, lengths = 0.0, [value], set()
    while left and total <= MAX_COST:
        value = left.pop()
        total += 1
        if isinstance(value, dict):
            left += [*value, *value.values()]
            if value.keys() & {"minProperties", "maxProperties", "patternProperties"}:  # which properties are counted
                total += sum(len(inner) ** 2 for inner in value.values() if isinstance(inner, dict))
            lengths.update(value[key] for key in ("minLength", "maxLength") if isinstance(value.get(key), int | float))
        elif isinstance(value, list):
            left += value
        elif isinstance(value, str):
            total += len(value) / 32 + 8 * _repeated(value)
    return total + sum(2 * min(300, abs(length)) for length in lengths)


def _is_deeper(value: Any, levels: int) -> bool:
    layer = [value]
    for _ in range(levels):
        inner = (one.values() if isinstance(one, dict) else one for one in layer if isinstance(one, dict | list))
        layer = [item for items in inner for item in items]
    return bool(layer)


def _repeated(pattern: str) -> float:
    """Return how many pieces {9} and {1,20} stand for in a regular expression or grammar."""
    braces = re.findall(r"\{\s*\d[^}]*\}", pattern)
    counts = [max(map(float, re.findall(r"\d+", one))) for one in braces]
    is_nested = re.search(r"\)\s*\{", pattern)
    return math.prod(counts) if counts and is_nested else sum(counts)


def usable_schemas(tools: Iterable[Mapping[str, Any]]) -> list[Any]:
    """Return a schema for the arguments of each tool: its own, or that of any object where its own is of no use.

    Args:
        tools: as `tooln1.tools.normalize_tools` returns them.
    """
    schemas, left = [], MAX_COST_OF_TOOLS
    for tool in tools:
        price = cost(tool["parameters"])
        left -= price
        fits = price <= MAX_COST and left >= 0 and is_usable(json.dumps(tool["parameters"]))
        schemas.append(tool["parameters"] if fits else {"type": "object"})
    return schemas


def check_request(body: bytes) -> None:
    """Try the schemas of tools that a request demands to be called. Meant for a thread: xgrammar lets others run.

    Raises:
        UserError: a constraint of the request is too much work, or its JSON is nested too deeply.
    """
    try:
        request = json.loads(body)
    except RecursionError:
        raise UserError("the request is nested too deeply") from None
    except ValueError:
        return  # vLLM says so
    if not isinstance(request, dict):
        return
    for key in ("response_format", "structured_outputs", "text"):
        if cost(request.get(key)) > MAX_COST:
            raise UserError(f"{key}: too large, nested too deeply, or with too many repetitions to be compiled")
    if _is_deeper(request.get("tools"), _MAX_DEPTH_OF_TOOLS):
        raise UserError(f"tools: nested more than {_MAX_DEPTH_OF_TOOLS} levels deep, which no chat template writes")
    if request.get("tools") and request.get("tool_choice") not in (None, "auto", "none"):
        with suppress(ToolListError):
            usable_schemas(normalize_tools(request["tools"]))


@lru_cache(maxsize=256)
def is_usable(schema: str) -> bool:
    """Return whether xgrammar's grammar of a JSON Schema, given as text, leads to an object and to nothing else.

    The trial writes arguments by the grammar, one byte at a time. It fails for a schema that xgrammar refuses or cannot
    compile, that allows other values than objects, or whose arguments never end.
    """
    import xgrammar

    tag = {"type": "structural_tag", "format": {"type": "json_schema", "json_schema": json.loads(schema)}}
    try:
        matcher = xgrammar.GrammarMatcher(_compiler().compile_structural_tag(json.dumps(tag)))
    except Exception:  # of several classes, failed checks of the compiler among them
        return False
    written = write_shortest(matcher, first="{")
    with suppress(ValueError):
        return isinstance(json.loads(written or b"null"), dict)
    return False


def write_shortest(matcher: Any, first: str = "") -> bytes | None:
    """Return a short text that a grammar allows; None if it does not end, or may begin otherwise than with `first`."""
    import xgrammar

    mask, chooser, written = xgrammar.allocate_token_bitmask(1, 256), random.Random(0), bytearray()
    while len(written) < _STEPS:
        matcher.fill_next_token_bitmask(mask)
        bits = mask.numpy().tobytes()
        allowed = {byte for byte in range(256) if bits[byte // 8] >> byte % 8 & 1}
        if not allowed or (not written and first and allowed != {ord(first)}):
            return None
        if 0 in allowed:
            return bytes(written)
        written.append(_choose(allowed, chooser))
        matcher.accept_token(written[-1])
    return None


@cache
def _compiler() -> Any:
    import xgrammar

    # Bytes instead of a model's tokens compile a hundred times faster. Byte 0, which JSON has not, is the end.
    return xgrammar.GrammarCompiler(xgrammar.TokenizerInfo([bytes([byte]) for byte in range(256)], stop_token_ids=[0]))


def _choose(allowed: set[int], chooser: random.Random) -> int:
    """Return the byte that soonest ends a string, an object or an array; a number rather than a further object."""
    for byte in b'"' if ord("x") in allowed else b'}]"0123456789tfn-':
        if byte in allowed:
            return byte
    plain = allowed.intersection(range(33, 127)) - set(b',[{"\\')
    return chooser.choice(sorted(plain or allowed))
