"""API-Bank's rules for one call: what its evaluator.py, tool_manager.py and each API's own check compare, and how.

The benchmark runs a call against its database and compares what the API got and gave back. Here only the arguments are
compared, after what the API does to them: an argument that only decides the API's answer is wrong if it differs from
the ground truth's. docs/evaluation.md lists the rules, their source, and where running the API would decide otherwise.
`api_bank_official` runs the benchmark's own code, if the user has it.
"""

import json
from collections.abc import Callable, Mapping
from datetime import datetime
from operator import eq
from typing import Any

from tooln1.eval.benchmark import EXTRA, MISSING, TYPE, VALUE, WRONG_TOOL, Mistake, as_json

_DAY, _SECOND = "%Y-%m-%d", "%Y-%m-%d %H:%M:%S"
# A date that the API refuses. It equals nothing, not even itself.
_REFUSED = float("nan")
# The API's answer does not depend on this argument: it may be given although the ground truth leaves it out.
_FREE = "Translate.src_lang"
# Ground truths that the benchmark's own evaluator refuses. It resets its database before each call, which undoes what
# earlier calls of the dialogue changed.
_UNDONE = "earlier calls of the dialogue are undone before this one"
_REFUSED = (
    ("QueryScene", {}, "the database spells the devices in lower case, the ground truth does not"),
    ("DeleteMeeting", {}, "the API's check reads an argument that the API does not have"),
    ("ForgotPassword", {"status": "Verification Code"}, _UNDONE),
    ("GetUserToken", {"username": "foo", "password": "newpassword"}, _UNDONE),
    ("GetUserToken", {"username": "user1", "password": "user1newpass"}, _UNDONE),
    ("RegisterUser", {"username": "foo"}, _UNDONE),
    ("QueryRegistration", {"patient_name": "Mary", "date": "2023-11-15"}, _UNDONE),
)


def judge_call(
    call: Mapping[str, Any], ground_truth: Mapping[str, Any], declared: Mapping[str, Mapping[str, Any]]
) -> Mistake | None:
    """Judge a call by the ground truth's.

    Args:
        call, ground_truth: {"name", "arguments"}.
        declared: the tool's parameters, {name: {"type", "description"}}.
    """
    name, expected = ground_truth["name"], ground_truth["arguments"]
    if call["name"] != name:
        return Mistake(WRONG_TOOL, f"{as_json(call['name'])} instead of {name}")
    for argument in call["arguments"]:
        if argument not in declared:
            return Mistake(EXTRA, f"{as_json(argument)} is not declared")
        if argument not in expected and f"{name}.{argument}" != _FREE:
            return Mistake(EXTRA, f"{argument} is not in the ground truth")
    for argument, wanted in expected.items():
        if argument not in call["arguments"]:
            return Mistake(MISSING, f"{argument} is missing")
        value, kind = call["arguments"][argument], declared[argument].get("type", "str")
        if mistake := _compare(f"{name}.{argument}", value, wanted, kind):
            return Mistake(mistake, f"{argument} is {as_json(value)} instead of {as_json(wanted)}")
    for tool, arguments, reason in _REFUSED:
        if tool == name and arguments.items() <= expected.items():
            return Mistake(VALUE, f"the benchmark refuses its own ground truth: {reason}")
    return None


def _compare(place: str, value: Any, expected: Any, kind: str) -> str | None:
    """Return the kind of mistake, None if the API takes the values for the same."""
    try:
        found, wanted = _convert(value, kind), _convert(expected, kind)
    except (ValueError, RecursionError):
        return TYPE
    if _RULES.get(place, eq)(found, wanted):
        return None
    return TYPE if isinstance(value, dict | list) and not isinstance(found, list) else VALUE


def _convert(value: Any, kind: str) -> Any:
    """Return an argument as the API gets it: the benchmark reads every value as text and converts the text by its type.

    Raises:
        ValueError: the text cannot be converted.
    """
    if kind in ("list", "list(str)"):
        return _list(value)
    text = str(value)
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


def _by(normalise: Callable[[Any], Any]) -> Callable[[Any, Any], bool]:
    return lambda found, wanted: normalise(found) == normalise(wanted)


def _date(*formats: str, shown: str) -> Callable[[Any, Any], bool]:
    """Compare dates; the year's leading zeros may be missing."""

    def normalise(text: str) -> Any:
        year, *rest = text.strip().split("-")
        text = "-".join([year.zfill(4) if len(rest) == 2 else year, *rest])
        for form in formats:
            try:
                return datetime.strptime(text, form).strftime(shown)
            except ValueError:
                continue
        return _REFUSED

    return _by(normalise)


def _similar(found: str, wanted: str) -> bool:
    """More than half of the words of both are in both."""
    ours, theirs = set(found.split(" ")), set(wanted.split(" "))
    return len(ours & theirs) / len(ours | theirs) > 0.5


def _similar_in_any_case(found: str, wanted: str) -> bool:
    return _similar(found.lower(), wanted.lower())


def _language(text: str) -> str:
    """A language's code; the API finds it by its name too. The ground truths have no others."""
    lower = text.lower()
    return next((code for code, name in {"fr": "french", "es": "spanish"}.items() if name in lower), lower)


def _not_blank(found: str, wanted: str) -> bool:
    return bool(found.strip())


def _records(found: list, wanted: list) -> bool:
    """Any list of {"name", "value"} with different names: the benchmark has commented the comparison out."""
    try:
        return len({one["name"] for one in found if "value" in one}) == len(found) > 0
    except (KeyError, TypeError):
        return False


# "API.argument" for all that are not compared by equality.
_RULES: dict[str, Callable[[Any, Any], bool]] = {
    place: rule
    for rule, places in {
        _similar: "AddAgenda.content AddMeeting.meeting_topic ModifyMeeting.meeting_topic QueryMeeting.meeting_topic",
        _similar_in_any_case: "AddReminder.content ModifyReminder.content QueryReminder.content",
        _not_blank: "DeleteReminder.content",
        lambda found, wanted: True: "DeleteAgenda.location",
        _date(_DAY, shown=_DAY): "AppointmentRegistration.date ModifyRegistration.new_appointment_date "
        "QueryRegistration.date QueryStock.date",
        _date(_SECOND, shown=_SECOND): "CancelTimedSwitch.time TimedSwitch.time QueryHealthData.start_time "
        "QueryHealthData.end_time RecordHealthData.time",
        _date(_DAY, "%m-%d", shown="%m-%d"): "QueryHistoryToday.date",
        _by(lambda text: text.strip().lower()): "CancelTimedSwitch.name TimedSwitch.name DeleteScene.name "
        "QueryScene.name EmergencyKnowledge.symptom SymptomSearch.symptom PlayMusic.music_name SearchEngine.keyword",
        _by(_language): "Translate.tgt_lang",
        # The API takes capital letters only after the @.
        _by(lambda text: (text.strip().split("@")[0], text.strip().lower())): "SendEmail.receiver",
        _by(lambda text: text.upper().strip()): "QueryHealthData.user_id RecordHealthData.user_id "
        "QueryStock.stock_code",
        _by(lambda text: text.replace("_", " ").strip().lower()): "Dictionary.keyword Wiki.keyword",
        _by(str.strip): "AppointmentRegistration.patient_name AppointmentRegistration.doctor_name "
        "QueryRegistration.patient_name CancelRegistration.appointment_id ModifyRegistration.appointment_id "
        "ModifyRegistration.new_appointment_doctor DocumentQA.url DocumentQA.question "
        "SendEmail.subject SendEmail.content",
        _by(lambda text: text.replace(" ", "")): "Calculator.formula",
        _records: "RecordHealthData.health_data",
    }.items()
    for place in places.split()
}
