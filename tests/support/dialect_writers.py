"""Writes one conversation in every dialect.

A conversation is [(request, [(sentence, calls, results), …], answer), …].
"""

import json

from tooln1.prompt import build_system

TOOLS = [
    {
        "name": name,
        "description": f"does {name}",
        "parameters": {"type": "object", "properties": {"a": {}, "b": {}, "c_d": {}}, "required": ["a"]},
    }
    for name in ("find", "send_mail")
]
HERMES_SYSTEM = """\
You are a function calling AI model. You are provided with function signatures within <tools></tools> XML \
tags. You may call one or more functions to assist with the user query. Don't make assumptions about what values to \
plug into functions. Here are the available tools: <tools> TOOLS </tools> Use the following pydantic model json schema \
for each tool call you will make: {"properties": {"arguments": {"title": "Arguments", "type": "object"}, "name": \
{"title": "Name", "type": "string"}}, "required": ["arguments", "name"], "title": "FunctionCall"} For each function \
call return a json object with function name and arguments within <tool_call></tool_call> XML tags as follows:
<tool_call>
{"arguments": <args-dict>, "name": <function-name>}
</tool_call>"""


def flat(rounds):
    """Yield ("user", text), ("calls", sentence, calls), ("results", [text, …]) and ("answer", text)."""
    for request, steps, answer in rounds:
        yield "user", request
        for sentence, calls, results in steps:
            yield "calls", sentence, calls
            yield "results", results
        yield "answer", answer


def text_call(call):
    return json.dumps(call, ensure_ascii=False)


def wrapped(tools):
    return [{"type": "function", "function": tool} for tool in tools]


def openai(rounds, as_text=True):
    messages, number = [{"role": "developer", "content": [{"type": "text", "text": "Be kind."}]}], 0
    for kind, *said in flat(rounds):
        if kind == "calls":
            sentence, calls = said
            written = [
                {**call, "arguments": json.dumps(call["arguments"]) if as_text else call["arguments"]} for call in calls
            ]
            entries = [{"id": f"c{number + n}", "type": "function", "function": one} for n, one in enumerate(written)]
            messages.append({"role": "assistant", "content": sentence or None, "tool_calls": entries})
        elif kind == "results":
            # The ids, not the order, tell which call a result belongs to.
            results = [
                {"role": "tool", "tool_call_id": f"c{number + n}", "content": one} for n, one in enumerate(said[0])
            ]
            messages += reversed(results)
            number += len(results)
        else:
            messages.append({"role": "user" if kind == "user" else "assistant", "content": said[0]})
    return {"messages": messages, "tools": wrapped(TOOLS), "parallel_tool_calls": True}


def responses(rounds):
    items, number = [], 0
    for kind, *said in flat(rounds):
        if kind == "calls":
            items.append({"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}]})
            if said[0]:
                content = [{"type": "output_text", "text": said[0], "annotations": []}]
                items.append({"type": "message", "role": "assistant", "content": content})
            for n, call in enumerate(said[1]):
                arguments = json.dumps(call["arguments"])
                name = {"type": "function_call", "name": call["name"], "arguments": arguments}
                items.append({**name, "call_id": f"c{number + n}", "id": "fc", "status": "completed"})
        elif kind == "results":
            for n, one in enumerate(said[0]):
                items.append({"type": "function_call_output", "call_id": f"c{number + n}", "output": one})
            number += len(said[0])
        else:
            items.append({"role": "user" if kind == "user" else "assistant", "content": said[0]})
    return {"instructions": "Be kind.", "input": items, "tools": [{"type": "function", **tool} for tool in TOOLS]}


def anthropic(rounds):
    messages, number = [], 0
    for kind, *said in flat(rounds):
        if kind == "calls":
            blocks = [{"type": "thinking", "thinking": "hm", "signature": "x"}]
            blocks += [{"type": "text", "text": said[0]}] if said[0] else []
            for n, call in enumerate(said[1]):
                use = {"type": "tool_use", "id": f"t{number + n}", "name": call["name"], "input": call["arguments"]}
                blocks.append(use)
            messages.append({"role": "assistant", "content": blocks})
        elif kind == "results":
            content = [
                {"type": "tool_result", "tool_use_id": f"t{number + n}", "content": [{"type": "text", "text": one}]}
                for n, one in enumerate(said[0])
            ]
            messages.append({"role": "user", "content": content})
            number += len(content)
        else:
            messages.append({"role": "user" if kind == "user" else "assistant", "content": said[0]})
    tools = [
        {"name": tool["name"], "description": tool["description"], "input_schema": tool["parameters"]} for tool in TOOLS
    ]
    return {"system": [{"type": "text", "text": "Be kind."}], "messages": messages, "tools": tools}


def turns(rounds, write, names, tool_role="tool"):
    """Return ShareGPT turns; `write` gives the turns of a sentence and calls, `names` the keys of role and text."""
    found = []
    for kind, *said in flat(rounds):
        if kind == "calls":
            found += write(*said)
        elif kind == "results":
            found += [(tool_role, one) for one in said[0]]
        else:
            found.append(({"from": "human", "role": "user"}[names[0]] if kind == "user" else "assistant", said[0]))
    return [dict(zip(names, turn, strict=True)) for turn in found]


def llama_factory(rounds):
    def write(sentence, calls):
        said = [("gpt", sentence)] if sentence else []
        return [*said, *(("function_call", "<think>\nhm\n</think>\n" + text_call(call)) for call in calls)]

    conversations = turns(rounds, write, ("from", "value"), "observation")
    return {"conversations": conversations, "system": "Be kind.", "tools": json.dumps(TOOLS)}


def ms_swift(rounds):
    def write(sentence, calls):
        said = [("assistant", sentence)] if sentence else []
        return [*said, *(("tool_call", repr(call)) for call in calls)]

    messages = turns(rounds, write, ("role", "content"), "tool_response")
    lines = "\n".join(map(json.dumps, wrapped(TOOLS)))
    return {"messages": [{"role": "system", "content": "Be kind."}, *messages], "available_tools": lines}


def hermes(rounds, write_value=text_call):
    def write(sentence, calls):
        tags = "\n".join(f"<tool_call>\n{write_value(call)}\n</tool_call>" for call in calls)
        return [("gpt", f"<think>hm</think>\n{sentence}\n{tags}")]

    system = "Be kind.\n" + HERMES_SYSTEM.replace("TOOLS", write_value(wrapped(TOOLS)))
    said = turns(rounds, write, ("from", "value"))
    for turn in said:
        if turn["from"] == "tool":
            # Qwen's template shows a result as the user's.
            turn.update({"from": "user", "value": f"<tool_response>\n{turn['value']}\n</tool_response>"})
    return {"dialog": [{"from": "system", "value": system}, *said]}


def own(rounds):
    def write(sentence, calls):
        return [("assistant", f"<think>hm</think>\n{sentence}\n<tool_call>{json.dumps(calls)}</tool_call>")]

    system = {"role": "system", "content": build_system(TOOLS, "Be kind.")}
    return {"messages": [system, *turns(rounds, write, ("role", "content"))]}


def glaive(rounds):
    lines = []
    for kind, *said in flat(rounds):
        if kind == "calls":
            calls = (
                f'<functioncall> {{"name": "{call["name"]}", "arguments": \'{text_call(call["arguments"])}\'}}'
                for call in said[1]
            )
            lines.append(f"ASSISTANT: {said[0]} {' '.join(calls)} <|endoftext|>")
        elif kind == "results":
            lines += [f"FUNCTION RESPONSE: {one}" for one in said[0]]
        else:
            lines.append(f"USER: {said[0]}" if kind == "user" else f"ASSISTANT: {said[0]} <|endoftext|>")
    listed = "\n\n".join(json.dumps(tool, indent=4) for tool in TOOLS)
    system = f"SYSTEM: Be kind. with access to the following functions. Use them if required -\n{listed}\n"
    return {"system": system, "chat": "\n\n\n".join(lines)}


def toolace(rounds):
    def write(sentence, calls):
        texts = [f"{c['name']}({', '.join(f'{k}={v!r}' for k, v in c['arguments'].items())})" for c in calls]
        return [*([("assistant", sentence)] if sentence else []), ("assistant", f"[{', '.join(texts)}]")]

    return {"system": f"Be kind.\n{json.dumps(TOOLS)}", "conversations": turns(rounds, write, ("from", "value"))}


WRITERS = {
    "openai": [openai, lambda rounds: openai(rounds, as_text=False)],
    "responses": [responses],
    "anthropic": [anthropic],
    "sharegpt": [llama_factory, ms_swift],
    "hermes": [hermes, lambda rounds: hermes(rounds, repr)],
    "own": [own],
    "glaive": [glaive],
    "toolace": [toolace],
}
