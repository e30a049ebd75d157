"""The half of the API-Bank evaluation that runs the benchmark's own code, as a script for `tooln1.eval.bridge`.

It runs in the benchmark's folder with `python -I -S -B`, and imports nothing of tooln1. It does what the benchmark's
evaluator.py does with a call. Neither packages nor sockets are within reach: what the benchmark imports besides itself
and the standard library becomes a stub. An API whose module holds a stub (Dictionary, Translate, SearchEngine) cannot
answer, and its calls get no verdict.
"""

import copy
import json
import os
import signal
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType

SECONDS_PER_CALL = 10


class Stub(ModuleType):
    """A module, function or class that is not here."""

    __path__ = ()

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return Stub(name)

    def __call__(self, *args, **kwargs):
        return self


class StubFinder:
    """Finds every module that no other finder has found."""

    def find_spec(self, name, path=None, target=None):
        return ModuleSpec(name, self, is_package=True)

    def create_module(self, spec):
        return Stub(spec.name)

    def exec_module(self, module):
        pass


def forbid_network(event, args):
    if event.startswith("socket."):
        raise PermissionError("no network here")


def reset(manager, tool):
    """Reset the databases that a call can reach, as the evaluator does by making a new manager for each call."""
    manager.inited_tools = {}
    reached = {"Account", getattr(tool, "database_name", None)}
    databases = {name: json.loads(text) for name, text in manager.texts.items() if name in reached}
    for api in manager.apis:
        name = getattr(api["class"], "database_name", None)
        if name in databases:
            api["init_database"] = databases[name]
    manager.token_checker = manager.init_tool("CheckToken")


def as_read(value, declared):
    """Return an argument as the evaluator reads it from Python's notation: as text, but a list as a list."""
    if not declared.startswith("list"):
        return value if isinstance(value, str) else str(value)
    # The data write lists as Python does, with single quotes.
    for text in (value.replace("'", '"'), value) if isinstance(value, str) else ():
        try:
            return json.loads(text)
        except ValueError:
            pass
    return value


def judge(manager, call, turn):
    """Judge a call by a turn of a dialogue. Return [valid or None, what the API returned or raised]."""
    if call["name"] != turn["api_name"]:
        return [False, f"{call['name']} instead of {turn['api_name']}"]
    api = manager.get_api_by_name(call["name"])
    module = sys.modules[api["class"].__module__]
    if any(isinstance(value, Stub) for value in vars(module).values()):
        return [None, "needs packages or the network"]
    reset(manager, api["class"])
    declared = {name: one["type"] for name, one in api["input_parameters"].items()}
    signal.alarm(SECONDS_PER_CALL)
    try:
        arguments = {name: as_read(value, declared.get(name, "str")) for name, value in call["arguments"].items()}
        result = manager.api_call(call["name"], **arguments)
        tool = manager.init_tool(call["name"])
        # The checks change what they compare.
        valid = tool.check_api_call_correctness(copy.deepcopy(result), copy.deepcopy(turn["result"]))
        return [bool(valid), f"returned {result}"]
    except Exception as error:  # the APIs and their checks raise anything
        return [False, f"{type(error).__name__}: {error}"]
    finally:
        signal.alarm(0)


def stop(*_):
    raise TimeoutError(f"{SECONDS_PER_CALL} seconds were not enough")


def main():
    # What the benchmark prints goes to the log.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    sys.path.insert(0, "")
    sys.meta_path.append(StubFinder())
    sys.addaudithook(forbid_network)
    signal.signal(signal.SIGALRM, stop)
    from tool_manager import ToolManager

    manager = ToolManager()
    manager.texts = {name: json.dumps(database) for name, database in manager.init_databases.items()}
    for line in sys.stdin:
        _, cases = json.loads(line)
        print(json.dumps({case["id"]: judge(manager, case["call"], case["turn"]) for case in cases}), file=answers)
        answers.flush()


if __name__ == "__main__":
    main()
