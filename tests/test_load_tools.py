"""Files of tools: OpenAPI documents, Python functions, lists; and what is said of a file that holds none."""

import json

import pytest
from jsonschema import Draft202012Validator

from tooln1.errors import UserError
from tooln1.tools import load_tools

OPENAPI = """\
openapi: 3.0.3
info: {title: Shop, version: 2020-01-01}
paths:
  /items/{id}:
    parameters:
      - {name: id, in: path, required: true, schema: {type: string, enum: [2020-01-01, no]}}
    get:
      operationId: getItem
      summary: Get an item
      description: By its number.
      parameters:
        - $ref: '#/components/parameters/Lang'
        - {name: Accept, in: header, schema: {type: string}}
      responses: {200: {description: ok}}
    put:
      requestBody: {required: true, content: {application/json: {schema: {$ref: '#/components/schemas/Item'}}}}
  /nodes:
    post:
      operationId: addNode
      requestBody:
        required: true
        content:
          application/json:
            schema: {allOf: [{$ref: '#/components/schemas/Node'}, {type: object, properties: {to: {type: integer}}}]}
  /many:
    post:
      operationId: addMany
      requestBody: {content: {application/json: {schema: {type: array, items: {$ref: 'parts/more.yaml#/Part'}}}}}
components:
  parameters:
    Lang: {name: lang, in: query, description: of the answer, schema: {type: string, nullable: true}}
  schemas:
    Item:
      type: object
      required: [name, made]
      properties:
        made: {type: string, readOnly: true}
        name: {type: string}
        price: {type: number, minimum: 0, exclusiveMinimum: true}
        from: {$ref: '#/components/schemas/Address'}
        to: {$ref: '#/components/schemas/Address'}
    Address: {type: object, properties: {street: {type: string}}}
    Node: {type: object, properties: {value: {type: integer}, next: {$ref: '#/components/schemas/Node'}}}
"""
PART = "Part: {type: object, properties: {x: {$ref: '#/X'}}}\nX: {type: integer}\n"
ADDRESS = {"type": "object", "properties": {"street": {"type": "string"}}}


def schemas_of(path):
    tools = load_tools(path)
    for tool in tools:
        Draft202012Validator.check_schema(tool["parameters"])
    return {tool["name"]: tool["parameters"] for tool in tools}


@pytest.fixture
def api(tmp_path):
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "more.yaml").write_text(PART)
    (tmp_path / "api.yaml").write_text(OPENAPI)
    return tmp_path / "api.yaml"


def test_an_openapi_document_has_a_tool_an_operation(api):
    identity = {"type": "string", "enum": ["2020-01-01", "no"]}
    schemas = schemas_of(api)
    assert schemas["getItem"] == {
        "type": "object",
        "properties": {"id": identity, "lang": {"type": ["string", "null"], "description": "of the answer"}},
        "required": ["id"],
    }
    assert schemas["put_items_id"] == {
        "type": "object",
        "properties": {
            "id": identity,
            "name": {"type": "string"},
            "price": {"type": "number", "exclusiveMinimum": 0},
            "from": ADDRESS,
            "to": ADDRESS,
        },
        "required": ["id", "name"],
    }
    assert schemas["addNode"]["properties"] == {"value": {"type": "integer"}, "next": {}, "to": {"type": "integer"}}
    items = {"type": "object", "properties": {"x": {"type": "integer"}}}
    assert schemas["addMany"] == {"type": "object", "properties": {"body": {"type": "array", "items": items}}}
    assert load_tools(api)[0]["description"] == "Get an item\nBy its number."


def test_json_and_yaml_say_the_same(api, tmp_path):
    from tooln1.openapi import load_yaml

    other = tmp_path / "api.json"
    other.write_text(json.dumps(load_yaml(OPENAPI)))
    assert load_tools(other) == load_tools(api)
    (tmp_path / "list.yaml").write_text("tools:\n- {name: f, inputSchema: {type: object, properties: {on: {}}}}")
    assert schemas_of(tmp_path / "list.yaml") == {"f": {"type": "object", "properties": {"on": {}}}}


PYTHON = '''
import os
from enum import Enum
from typing import Annotated, Literal, Optional
open("ran", "w")

class Color(Enum):
    RED = "red"
    BLUE = "blue"

class Place(BaseModel):
    street: str
    number: int = 1
    inside: "Place | None" = None

def find(city: str, days: int = 3, unit: Literal["c", "f"] = "c", where: Optional[Place] = None, *,
         color: Color = Color.RED, data: dict[str, list[float]] | None = None, pair: tuple[int, str] = (1, "a"),
         _x=None, other: "Unknown[int]" = None, note: Annotated[str, "x"] = ""):
    """Find a place.

    Looks everywhere.

    Args:
        city: the city
            to look in
        days (int): how many
    """

async def send(to: list[str]) -> bool:
    """Send mail.

    :param to: addresses
    """

def _hidden(): ...

TOOLS = [send, find]
'''


def test_functions_of_a_python_file_are_tools_and_nothing_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "shop.py"
    path.write_text(PYTHON)
    schemas = schemas_of(f"{path}")
    assert list(schemas) == ["find", "send"] and list(schemas_of(f"{path}:TOOLS")) == ["send", "find"]
    assert list(schemas_of(f"{path}:send")) == ["send"] and not (tmp_path / "ran").exists()
    assert schemas["send"]["properties"] == {
        "to": {"type": "array", "items": {"type": "string"}, "description": "addresses"}
    }
    found = schemas["find"]["properties"]
    assert schemas["find"]["required"] == ["city"]
    assert found["city"] == {"type": "string", "description": "the city to look in"}
    assert found["days"] == {"type": "integer", "default": 3, "description": "how many"}
    assert found["unit"] == {"type": "string", "enum": ["c", "f"], "default": "c"}
    assert found["color"] == {"type": "string", "enum": ["red", "blue"]}
    assert found["data"]["anyOf"][0]["additionalProperties"]["items"] == {"type": "number"}
    assert found["other"] == found["_x"] == {} and found["note"] == {"type": "string", "default": ""}
    fits = Draft202012Validator(schemas["find"]).is_valid
    assert fits({"city": "x", "where": {"street": "y", "number": 2}, "pair": [1, "a"]})
    assert not fits({"city": "x", "where": {"number": 2}}) and not fits({"city": "x", "pair": ["a", 1]})
    assert load_tools(path)[0]["description"] == "Find a place.\nLooks everywhere."


LAUGHS = "\n".join(f"    a{n}: {{items: [{{$ref: '#/x/a{n + 1}'}}, {{$ref: '#/x/a{n + 1}'}}]}}" for n in range(40))
ONE = "openapi: 3.0.0\npaths: {/a: {post: {requestBody: {content: {x: {schema: {$ref: '%s'}}}}}}}\n"


@pytest.mark.parametrize(
    "name, text, message",
    [
        ("t.json", "\ufeff[{]", "t.json: not JSON: Expecting property name"),
        ("t.json", '[{"x": 1}]', "t.json: expected a tool with a name"),
        ("t.json", "[]", "t.json: no tools in it"),
        ("t.yaml", "a: [", "t.yaml: not YAML"),
        ("t.yaml", "swagger: '2.0'", "t.yaml: OpenAPI 2.0; expected version 3"),
        ("t.yaml", "openapi: 3.0.0\npaths: [1]", "t.yaml: not a valid OpenAPI document"),
        ("t.yaml", ONE % "#/x", "t.yaml: a reference leads nowhere: "),
        ("t.yaml", ONE % "http://localhost:1/x", "refers to http://localhost:1/x, which is no file below"),
        ("t.yaml", ONE % "../t.yaml#/x", "which is no file below"),
        ("t.yaml", ONE % "gone.yaml#/x", "gone.yaml: cannot be read"),
        (
            "t.yaml",
            f"{ONE % '#/x/a0'}x:\n{LAUGHS}\n    a40: {{}}",
            "t.yaml: the schemas of one operation are too large",
        ),
        ("t.py", "def f(:", "t.py: not Python"),
        ("t.py:g", "def f(): ...", "t.py: no function is called g; there are: f"),
        ("t.py", "def f(x: 'a b'): ...", "t.py: function f: "),
        ("gone.json", None, "gone.json: cannot be read"),
    ],
)
def test_a_file_without_tools_is_one_line(name, text, message, tmp_path):
    if text is not None:
        (tmp_path / name.partition(":")[0]).write_text(text)
    with pytest.raises(UserError) as error:
        load_tools(tmp_path / name)
    assert message in str(error.value) and "\n" not in str(error.value)
