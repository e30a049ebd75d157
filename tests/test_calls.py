"""Reading written calls: what must come out exactly, what must be refused and why, and that nothing else happens."""

import json
import sys
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tooln1.calls import REASONS, CallError, CallReader, normalize_tools, read_calls, read_json_calls

NAMES = [
    "f",
    "g",
    "User Feed",
    "User Feed (Video Posts) V2",
    "Get Games by Platform, Category, and Sorted",
    "symbols/get-dividend-history",
    'Joe\'s "Best" Quotes',
    "Météo à Orléans",
    "天气",
]
TOOLS = [{"name": name, "parameters": {"type": "dict", "properties": {}}} for name in NAMES]
TOOLS[0]["parameters"]["properties"] = {"start-date": {}, "filter[name]": {}, "a": {}, "from": {}, "page size": {}}


def one(value: str):
    """The value that f(a=…) is read with."""
    [call] = read_calls(f"[f(a={value})]", TOOLS)
    return call["arguments"]["a"]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_of_any_characters_is_read(name):
    assert read_calls(f'[{name}(x="1"), {name}()]', TOOLS) == [
        {"name": name, "arguments": {"x": "1"}},
        {"name": name, "arguments": {}},
    ]


def test_the_longest_listed_name_wins():
    calls = read_calls("[User Feed (Video Posts) V2(a=1), User Feed(a=2), User Feed (a=3)]", TOOLS)
    assert [(call["name"], call["arguments"]["a"]) for call in calls] == [
        ("User Feed (Video Posts) V2", 1),
        ("User Feed", 2),
        ("User Feed", 3),
    ]


def test_blanks_around_a_listed_name_are_not_needed_but_kept():
    assert read_calls("[h(x=1)]", [{"name": " h "}]) == [{"name": " h ", "arguments": {"x": 1}}]


def test_listed_argument_names_may_hold_anything():
    assert read_calls('[f(start-date="x", filter[name]=1, page size=2, from=3, other.one=4)]', TOOLS) == [
        {
            "name": "f",
            "arguments": {"start-date": "x", "filter[name]": 1, "page size": 2, "from": 3, "other.one": 4},
        }
    ]


def test_blanks_and_line_breaks_between_pieces_do_not_matter():
    text = " [\n f ( \t a = [ 1 ,\n 2 ] , b = { 'k' : 1 } , ) ,\r\n g ( ) ,\n] \n"
    assert read_calls(text, TOOLS) == [
        {"name": "f", "arguments": {"a": [1, 2], "b": {"k": 1}}},
        {"name": "g", "arguments": {}},
    ]


@pytest.mark.parametrize("text", ["[]", " [ \n ] "])
def test_an_empty_list_holds_no_calls(text):
    assert read_calls(text, TOOLS) == []


@pytest.mark.parametrize(
    "written, expected",
    [
        ('"plain"', "plain"),
        ("'it\"s'", 'it"s'),
        ('"a ) b"', "a ) b"),
        ('"), g(x="', "), g(x="),
        ("'[f(a=1)]'", "[f(a=1)]"),
        (r'"say \"hi\""', 'say "hi"'),
        (r"'it\'s'", "it's"),
        ('"two\nlines"', "two\nlines"),
        (r'"two\nlines"', "two\nlines"),
        (r'"C:\\temp"', "C:\\temp"),
        (r'"C:\dir"', r"C:\dir"),  # Python keeps a backslash that starts no escape
        (r"r'C:\temp'", r"C:\temp"),
        ("'''it's'''", "it's"),
        ('"""say "hi" now"""', 'say "hi" now'),
        ('""', ""),
        ('"日本 é 🎉"', "日本 é 🎉"),
        (r'"\u00e9\x41\101\U0001F389"', "éAA🎉"),
        (r'"\ud83c\udf89"', "🎉"),  # a pair of JSON escapes
        (r'"\N{EM DASH}"', "\N{EM DASH}"),
        ("- 5", -5),
        ("\n[\n-1.5E+3 ,\t{ 'k' :\n[ ( 1 , ) ] } ]", [-1500.0, {"k": [[1]]}]),
        ('"), Find It (beta)(q=\'x\', r=\\"y"', "), Find It (beta)(q='x', r=\"y"),
        ("-5", -5),
        ("+5", 5),
        ("1_000", 1000),
        ("0x1F", 31),
        ("-2.5e-3", -0.0025),
        ("1E5", 100000.0),
        (".5", 0.5),
        ("1.", 1.0),
        ("12345678901234567890123", 12345678901234567890123),
        ("True", True),
        ("true", True),
        ("False", False),
        ("false", False),
        ("None", None),
        ("null", None),
        ("[]", []),
        ("[1, [2, {'a': [3]}], ]", [1, [2, {"a": [3]}]]),
        ('{"a": {"b": null}, "c": [true]}', {"a": {"b": None}, "c": [True]}),
        ("(1, 2)", [1, 2]),
        ("(1,)", [1]),
        ("(1)", 1),
        ("()", []),
    ],
)
def test_values_are_python_literals_and_json_constants(written, expected):
    value = one(written)
    assert value == expected
    assert type(value) is type(expected)  # 1, 1.0 and True are different arguments


@pytest.mark.parametrize(
    "text, reason",
    [
        ("", "not_calls"),
        ("I cannot help with that.", "not_calls"),
        ("Sure: [f(a=1)]", "not_calls"),
        ("[Note] This cannot be done (sorry).", "prose"),
        ("[1, 2, 3]", "prose"),
        ("[" * 3000, "prose"),
        ("[unknown(a=1)]", "unknown_tool"),
        ("[f(a=1), unknown(a=1)]", "unknown_tool"),
        ("[Unknown Tool (beta)(a=1)]", "unknown_tool"),
        ("[unknown(a=1), f(", "unknown_tool"),
        ("[f(1)]", "positional_argument"),
        ("[f(a=1, 'x')]", "positional_argument"),
        ("[f(g(a=1))]", "positional_argument"),
        ("[f(**{'a': 1})]", "positional_argument"),
        ("[f(a==1)]", "positional_argument"),
        ("[f(a=1, a=2)]", "repeated_argument"),
        ("[f(a=b)]", "name_as_value"),
        ("[f(a=NaN)]", "name_as_value"),
        ("[f(a=[x])]", "name_as_value"),
        ("[f(a=g(a=1))]", "call_as_value"),
        ("[f(a=User Feed(a=1))]", "call_as_value"),
        ("[f(a=__import__('os').system('true'))]", "call_as_value"),
        ("[f(a=1+2)]", "bad_value"),
        ("[f(a=2024-01-01)]", "bad_value"),
        ("[f(a=,b=1)]", "bad_value"),
        ('[f(a="He said "hi"")]', "bad_value"),
        ("[f(a='a' 'b')]", "bad_value"),  # more often a forgotten escape than a concatenation
        ("[f(a={1, 2})]", "bad_key"),
        ("[f(a={'x', 'y'})]", "bad_value"),
        ("[f(a={1: 2})]", "bad_key"),
        ("[f(a={'x': 1, 'x': 2})]", "repeated_key"),
        ("[f(a=b'bytes')]", "name_as_value"),
        ("[f(a=f'{x}')]", "name_as_value"),
        (r"[f(a='\x4')]", "bad_string"),
        (r"[f(a='\ud83c')]", "bad_string"),
        (r"[f(a='\N{NO SUCH CHARACTER}')]", "bad_string"),
        (r"[f(a='\N')]", "bad_string"),
        (r"[f(a='\U00110000')]", "bad_string"),
        ("[f(a=007)]", "bad_number"),
        ("[f(a=1e999)]", "bad_number"),
        ("[f(a=1j)]", "bad_number"),
        ("[f(a=" + "9" * 6000 + ")]", "bad_number"),
        ("[f(a=" + "[" * 3000 + ")]", "too_deep"),
        ("[f(a=" + "[" * 3000 + "]" * 3000 + ")]", "too_deep"),
        ("[f(a=" + "{'a':" * 3000 + ")]", "too_deep"),
        ("[", "unfinished"),
        ("[f(", "unfinished"),
        ("[f(a", "unfinished"),
        ("[f(a=", "unfinished"),
        ("[f(a=1", "unfinished"),
        ("[f(a='x", "unfinished"),
        ("[f(a={'x'", "unfinished"),
        ("[f(a=1)", "unfinished"),
        ("[f(a=1),", "unfinished"),
        ("[f(a=1)] as you asked", "trailing_text"),
        ("[f(a=1)][g()]", "trailing_text"),
        ("[f(a=1) g()]", "malformed"),
    ],
)
def test_refused_with_the_reason(text, reason):
    with pytest.raises(CallError) as error:
        read_calls(text, TOOLS)
    assert error.value.reason == reason
    assert error.value.reason in REASONS


def test_calls_written_as_json_are_read_too():
    call = {"name": "f", "arguments": {"a": 1}}
    for value in (call, [call], json.dumps(call), json.dumps([call]), {**call, "arguments": '{"a": 1}'}):
        assert read_json_calls(value, NAMES) == [call]


@pytest.mark.parametrize(
    "value, reason",
    [
        ("{", "not_calls"),
        ('[{"name": "f", "arguments": {"a": 1, "a": 2}}]', "repeated_key"),
        ('[{"name": "f", "arguments": {"a": NaN}}]', "bad_number"),
        ('[{"name": "f", "arguments": {"a": 1e999}}]', "bad_number"),
        ('[{"name": "f", "arguments": {"a": ' + "9" * 6000 + "}}]", "bad_number"),
        ("[" * 100_000, "not_calls"),
        ("5", "not_calls"),
        ([5], "not_calls"),
        ({"name": "f"}, "not_calls"),
        ({"name": "f", "arguments": {}, "result": 1}, "not_calls"),
        ({"name": "f", "arguments": {}, "input": {}}, "not_calls"),
        ({"name": "f", "arguments": []}, "bad_value"),
        ({"name": "f", "arguments": {"a": float("nan")}}, "bad_value"),
        ({"name": "f", "arguments": {"a": "\ud800"}}, "bad_value"),
        ({"name": "zz", "arguments": {}}, "unknown_tool"),
        ({"name": ["f"], "arguments": {}}, "unknown_tool"),
    ],
)
def test_calls_written_as_json_are_refused_with_the_reason(value, reason):
    with pytest.raises(CallError) as error:
        read_json_calls(value, NAMES)
    assert error.value.reason == reason


@pytest.mark.parametrize(
    "text, expected",
    [
        ("I will call User Feed (a=1) now.", True),
        ("Then g() helps.", True),
        ("The User Feed (a list of videos) is empty.", False),
        ("Nothing here.", False),
    ],
)
def test_calls_in_prose_are_noticed(text, expected):
    assert CallReader(normalize_tools(TOOLS)).mentions_call(text) is expected


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
calls_of_any_values = st.lists(
    st.builds(
        lambda name, arguments: {"name": name, "arguments": arguments},
        st.sampled_from(NAMES),
        st.dictionaries(st.from_regex(r"[^\W\d]\w{0,9}", fullmatch=True), json_values, max_size=4),
    ),
    max_size=4,
)


@pytest.mark.parametrize("write", [repr, lambda value: json.dumps(value, ensure_ascii=False)])
@given(calls=calls_of_any_values)
def test_python_literals_and_json_are_read_back(write, calls):
    parts = (f"{call['name']}({', '.join(f'{k}={write(v)}' for k, v in call['arguments'].items())})" for call in calls)
    # Compared as JSON text, which tells 1, 1.0 and True apart.
    assert json.dumps(read_calls(f"[{','.join(parts)}]", TOOLS)) == json.dumps(calls)


@given(st.text() | st.text(alphabet="[](){}fg=,:'\"\\ab1e.-+ \nxuN").map(lambda text: "[f(a=" + text))
@settings(max_examples=300)
def test_any_text_is_read_or_refused(text):
    try:
        calls = read_calls(text, TOOLS)
    except CallError as error:
        assert error.reason in REASONS
    else:
        json.dumps(calls, allow_nan=False).encode()


@pytest.mark.parametrize(
    "piece",
    [
        "f(a=1), ",
        "f(a='",
        "f(a=[",
        "f(a='\\\\",
        "f(a=(",
        "f(" + "a" * 50,
        "[",
        "User Feed (",
        "f(a=1" + "1" * 400 + ", ",
    ],
)
def test_the_work_of_reading_grows_linearly(piece):
    def functions_called(repeats: int) -> int:
        reader, text, events = CallReader(normalize_tools(TOOLS)), "[" + piece * repeats, Counter()
        sys.setprofile(lambda _frame, event, _argument: events.update([event]))
        try:
            reader.read(text)
        except CallError:
            pass
        finally:
            sys.setprofile(None)
        return events["call"] + events["c_call"]

    # Ten times the text; what a single call costs is for benchmarks/data_prep.py to show.
    assert functions_called(2_000) < 11 * functions_called(200) + 100
