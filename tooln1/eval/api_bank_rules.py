"""API-Bank's rules for one call: what its evaluator.py, tool_manager.py and each API's own check compare, and how.

The benchmark runs a call against its database and compares what the API got and gave back. Here the arguments alone are
compared, by the same normalisations: an argument that only decides the API's answer counts as wrong where it differs
from the reference's after what the API itself does to it. docs/evaluation.md lists the rules, their source, and where
running the API would decide otherwise.
"""

import json
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from tooln1.eval.cases import CORRECT, EXTRA, MISSING, TYPE, VALUE, WRONG_TOOL, Verdict, shorten, wrong

_DAY, _SECOND = "%Y-%m-%d", "%Y-%m-%d %H:%M:%S"
# Stands for a text that the API refuses; it equals nothing, not even itself.
_REFUSED = float("nan")


def judge_call(
    call: Mapping[str, Any], reference: Mapping[str, Any], declared: Mapping[str, Mapping[str, Any]]
) -> Verdict:
    """Judge a call by the reference's.

    Args:
        call, reference: {"name", "arguments"}.
        declared: the tool's parameters, {name: {"type", "description"}}.
    """
    name, expected = reference["name"], reference["arguments"]
    if call["name"] != name:
        return wrong(WRONG_TOOL, f"{shorten(call['name'])} instead of {name}")
    for argument in call["arguments"]:
        free = (name, argument) in _FREE
        if argument not in declared or (argument not in expected and not free):
            return wrong(
                EXTRA, f"{shorten(argument)} is not {'in the reference' if argument in declared else 'declared'}"
            )
    for argument, value in expected.items():
        if argument not in call["arguments"]:
            return wrong(MISSING, f"{argument} is missing")
        verdict = _judge_value(name, argument, call["arguments"][argument], value, declared[argument])
        if not verdict.correct:
            return verdict
    return CORRECT


def _judge_value(name: str, argument: str, value: Any, expected: Any, schema: Mapping[str, Any]) -> Verdict:
    said = f"{argument} is {shorten(json.dumps(value))} instead of {shorten(json.dumps(expected))}"
    kind = schema.get("type", "str")
    try:
        found, wanted = _typed(value, kind), _typed(expected, kind)
    except (ValueError, RecursionError):
        return wrong(TYPE, said)
    compare = _RULES.get((name, argument), _equal)
    if compare(found, wanted):
        return CORRECT
    return wrong(VALUE if type(found) is type(wanted) else TYPE, said)


def _typed(value: Any, kind: str) -> Any:
    """Return an argument as the API gets it: the benchmark reads every value as text and converts that by its type.

    Raises:
        ValueError: the text cannot be converted.
    """
    if kind in ("list", "list(str)"):
        return _list(value)
    text = _text(value)
    if kind == "int":
        if not text.isdecimal():
            raise ValueError("not an integer")
        return text.lstrip("0") or "0"
    return text == "True" if kind == "bool" else text


def _list(value: Any) -> list[Any]:
    # The data write lists as Python does, with single quotes.
    for text in (value.replace("'", '"'), value) if isinstance(value, str) else (json.dumps(value),):
        try:
            found = json.loads(text)
        except ValueError:
            continue
        if isinstance(found, list):
            return found
    raise ValueError("not a list")


def _text(value: Any) -> str:
    if isinstance(value, dict | list):
        raise ValueError("not a text")
    return str(value)


def _equal(found: Any, wanted: Any) -> bool:
    return found == wanted


def _by(normalise: Callable[[str], Any]) -> Callable[[str, str], bool]:
    return lambda found, wanted: normalise(found) == normalise(wanted)


def _lower(text: str) -> str:
    return text.strip().lower()


def _upper(text: str) -> str:
    return text.upper().strip()


def _keyword(text: str) -> str:
    return text.replace("_", " ").strip().lower()


def _without_spaces(text: str) -> str:
    return text.replace(" ", "")


def _moment(*formats: str, shown: str = _SECOND) -> Callable[[str], Any]:
    """Return a normalisation of dates; the year's leading zeros may be missing."""

    def normalise(text: str) -> Any:
        year, *rest = text.strip().split("-")
        text = "-".join([year.zfill(4) if len(rest) == 2 else year, *rest])
        for form in formats:
            try:
                return datetime.strptime(text, form).strftime(shown)
            except ValueError:
                continue
        return _REFUSED

    return normalise


def _words(text: str) -> set[str]:
    return set(text.split(" "))


def _similar(found: str, wanted: str) -> bool:
    """More than half of the words of both are in both."""
    return len(_words(found) & _words(wanted)) / len(_words(found) | _words(wanted)) > 0.5


def _similar_lower(found: str, wanted: str) -> bool:
    return _similar(found.lower(), wanted.lower())


def _anything(found: Any, wanted: Any) -> bool:
    return True


def _same_records(found: list, wanted: list) -> bool:
    """Lists of {"name", "value"}: in any order, values as text."""

    def normalise(records: list) -> list:
        return sorted(str((str(one["name"]), str(one["value"]))) for one in records)

    try:
        return normalise(found) == normalise(wanted)
    except (KeyError, TypeError):
        return False


_day, _second = _by(_moment(_DAY)), _by(_moment(_SECOND))

_RULES: dict[tuple[str, str], Callable[[Any, Any], bool]] = {
    ("AddAgenda", "content"): _similar,
    ("AddMeeting", "meeting_topic"): _similar,
    ("AddReminder", "content"): _similar_lower,
    ("AppointmentRegistration", "patient_name"): _by(str.strip),
    ("AppointmentRegistration", "date"): _day,
    ("AppointmentRegistration", "doctor_name"): _by(str.strip),
    ("Calculator", "formula"): _by(_without_spaces),
    ("CancelRegistration", "appointment_id"): _by(str.strip),
    ("CancelTimedSwitch", "name"): _by(_lower),
    ("CancelTimedSwitch", "time"): _second,
    ("DeleteAgenda", "content"): _anything,
    ("DeleteAgenda", "location"): _anything,
    ("DeleteReminder", "content"): _anything,
    ("DeleteScene", "name"): _by(_lower),
    ("Dictionary", "keyword"): _by(_keyword),
    ("DocumentQA", "url"): _by(str.strip),
    ("DocumentQA", "question"): _by(str.strip),
    ("EmergencyKnowledge", "symptom"): _by(_lower),
    ("ModifyAgenda", "content"): _similar,
    ("ModifyMeeting", "meeting_topic"): _similar,
    ("ModifyRegistration", "appointment_id"): _by(str.strip),
    ("ModifyRegistration", "new_appointment_date"): _day,
    ("ModifyRegistration", "new_appointment_doctor"): _by(str.strip),
    ("ModifyReminder", "content"): _similar_lower,
    ("PlayMusic", "music_name"): _by(_lower),
    ("QueryAgenda", "content"): _similar,
    ("QueryBalance", "token"): _by(str.strip),
    ("QueryHealthData", "user_id"): _by(_upper),
    ("QueryHealthData", "start_time"): _second,
    ("QueryHealthData", "end_time"): _second,
    ("QueryHistoryToday", "date"): _by(_moment(_DAY, "%m-%d", shown="%m-%d")),
    ("QueryMeeting", "meeting_topic"): _similar,
    ("QueryRegistration", "patient_name"): _by(str.strip),
    ("QueryRegistration", "date"): _day,
    ("QueryReminder", "content"): _similar_lower,
    ("QueryScene", "name"): _by(_lower),
    ("QueryStock", "stock_code"): _by(_upper),
    ("QueryStock", "date"): _day,
    ("RecordHealthData", "user_id"): _by(_upper),
    ("RecordHealthData", "time"): _second,
    ("RecordHealthData", "health_data"): _same_records,
    ("SearchEngine", "keyword"): _by(_lower),
    ("SendEmail", "receiver"): _by(_lower),
    ("SendEmail", "subject"): _by(str.strip),
    ("SendEmail", "content"): _by(str.strip),
    ("SymptomSearch", "symptom"): _by(_lower),
    ("TimedSwitch", "name"): _by(_lower),
    ("TimedSwitch", "time"): _second,
    ("Translate", "tgt_lang"): _by(_lower),
    ("Wiki", "keyword"): _by(_keyword),
}
# May be given although the reference leaves them out: the API's answer is the same.
_FREE = {("Translate", "src_lang")}
