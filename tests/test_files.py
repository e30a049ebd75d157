"""Reading files that a run is still writing, or did not finish."""

import math
from collections import Counter

import pytest

from tooln1.files import BROKEN, CUT, REPAIRED, decode_json, describe_damage, read_jsonl

GOOD = b'{"a": 1}\n'


@pytest.mark.parametrize(
    "content, values, damage",
    [
        (b"", [], {}),
        (GOOD, [{"a": 1}], {}),
        (GOOD * 2 + b'{"a": 2}', [{"a": 1}, {"a": 1}, {"a": 2}], {}),
        (GOOD + b'{"a": ', [{"a": 1}], {CUT: 1}),
        (b'{"a"\n' + GOOD, [{"a": 1}], {BROKEN: 1}),
        (b"\n  \n" + GOOD, [{"a": 1}], {}),
        # A line that is no object is none of verl's.
        (b"[1]\n3\n" + GOOD, [{"a": 1}], {BROKEN: 2}),
        (b'{"a": "\xff"}\n', [{"a": "\ufffd"}], {REPAIRED: 1}),
        (b'{"a": ' + b"[" * 100_000 + b"\n" + GOOD, [{"a": 1}], {BROKEN: 1}),
    ],
)
def test_what_can_be_read_is_read_and_the_rest_is_counted(content, values, damage, tmp_path):
    path = tmp_path / "1.jsonl"
    path.write_bytes(content)
    found: Counter[str] = Counter()
    assert [line.value for line in read_jsonl(path, found)] == values
    assert found == damage
    assert len(describe_damage(path, found)) == len(damage)


def test_what_orjson_refuses_and_verl_writes_is_read():
    assert math.isnan(decode_json(b'{"score": NaN}')[0]["score"])
    assert decode_json(b'{"output": "\\ud800"}') == ({"output": "\ud800"}, False)


def test_an_offset_leads_back_to_its_line(tmp_path):
    path = tmp_path / "1.jsonl"
    path.write_bytes('{"a": "ä"}\n\n{"a": 2}\n'.encode())
    lines = list(read_jsonl(path))
    with path.open("rb") as file:
        file.seek(lines[1].offset)
        assert file.readline() == b'{"a": 2}\n'
    assert [line.number for line in lines] == [1, 3]
