"""A world of 48 small tools whose tasks need what tool calling needs, and nothing that a tiny model cannot learn.

A task asks for one tool among several look-alikes, for argument values copied out of the query, for the declared
type (string, integer, boolean, list), for several calls at once, for values from an earlier turn, or for no call at
all. Train and test tasks share no (tool, value) pair: if training searches a museum in Oslo, the test never does,
although museums and Oslo occur in both. The same holds for booleans: two devices are only switched on in training and
only switched off in the test, or the reverse. Training seldom calls these two, because their direction can be learned
from the device instead of the request.
"""

import random
from dataclasses import dataclass, field

KINDS = ("string", "integer", "boolean", "list", "parallel", "multi_turn", "no_call")

CITIES = "Oslo Rome Paris Lima Cairo Delhi Tokyo Seoul Miami Quito Berlin Dublin Vienna Athens Lisbon Prague".split()
NAMES = "Anna Bob Carla David Emma Frank Grace Henry Iris Jack Karen Liam Maria Noah Olga Peter".split()
ROOMS = "kitchen bedroom office garage attic cellar hall garden".split()
COUNTS = list(range(2, 10))

# How often training draws a device that it switches one way only, relative to the others.
ONE_WAY_WEIGHT = 0.05

# The kind of a task by its tool's hardest parameter type; a tool of strings only is of kind "string".
HARDEST_FIRST = {"integer": "integer", "boolean": "boolean", "list": "array"}


@dataclass(frozen=True)
class Family:
    """Tools that differ only in their object, such as find_museum and find_cafe."""

    verb: str
    objects: tuple[str, ...]
    parameters: dict[str, str]
    phrase: str

    @property
    def kind(self) -> str:
        """The kind of a task with one call of such a tool, named after its hardest type."""
        types = self.parameters.values()
        return next((kind for kind, one in HARDEST_FIRST.items() if one in types), "string")

    def names(self) -> list[str]:
        """The tools of this family."""
        return [f"{self.verb}_{noun}" for noun in self.objects]


def _family(verb: str, objects: str, parameters: dict[str, str], phrase: str) -> Family:
    return Family(verb, tuple(objects.split()), parameters, phrase)


FAMILIES = {
    family.verb: family
    for family in (
        _family(
            "find",
            "museum cafe hotel doctor bakery gym school bank",
            {"city": "string"},
            "find a {noun} in {city}",
        ),
        _family(
            "book",
            "museum hotel car boat bus room tour flat",
            {"city": "string", "days": "integer"},
            "book a {noun} in {city} for {days} days",
        ),
        _family("order", "pizza salad soup cake tea rice pasta taco", {"count": "integer"}, "order {count} {noun}"),
        _family(
            "switch",
            "lamp heater fan radio oven alarm camera screen",
            {"room": "string", "on": "boolean"},
            "switch {on} the {noun} in the {room}",
        ),
        _family(
            "share",
            "photo file song map note video list link",
            {"names": "array"},
            "share the {noun} with {names}",
        ),
        _family(
            "call",
            "taxi plumber nurse guide driver cook tailor vet",
            {"name": "string"},
            "call a {noun} for {name}",
        ),
    )
}

VALUES = {
    "city": CITIES,
    "days": COUNTS,
    "count": COUNTS,
    "room": ROOMS,
    "on": [True, False],
    "name": NAMES,
    "names": NAMES,
}


@dataclass(frozen=True)
class Task:
    """One prompt and its ground-truth calls.

    ``turns`` are the messages after the system message, ``earlier`` the calls among them; ``asked`` is the call that
    would answer if its tool were listed.
    """

    kind: str
    tools: list[dict]
    turns: list[dict]
    calls: list[dict]
    earlier: list[dict] = field(default_factory=list)
    asked: dict | None = None


def describe(name: str) -> dict:
    """Return a tool as a prompt lists it."""
    verb = name.split("_")[0]
    parameters = {key: {"type": kind} for key, kind in FAMILIES[verb].parameters.items()}
    return {"name": name, "parameters": parameters}


class World:
    """Draws tasks; ``seed`` decides which values belong to which split and is the same for train and test."""

    def __init__(self, seed: int, test_share: float = 0.3):
        rng = random.Random(seed)
        self.names = [name for family in FAMILIES.values() for name in family.names()]
        self._allowed: dict[tuple[str, str, str], list] = {}
        devices = FAMILIES["switch"].names()
        one_way = rng.sample(devices, round(len(devices) * test_share))
        # Alternately on and off, so that no constant answer is correct in the test.
        held_out = {name: [bool(index % 2)] for index, name in enumerate(one_way)}
        for name in self.names:
            for parameter in FAMILIES[name.split("_")[0]].parameters:
                values = rng.sample(VALUES[parameter], len(VALUES[parameter]))
                test = held_out.get(name, []) if parameter == "on" else values[: round(len(values) * test_share)]
                self._allowed[name, parameter, "test"] = test
                self._allowed[name, parameter, "train"] = [value for value in values if value not in test]

    def allowed(self, name: str, parameter: str, split: str) -> list:
        """Return the values that a parameter of a tool takes in a split."""
        return self._allowed[name, parameter, split]

    def usable(self, family: Family, split: str) -> list[str]:
        """Return the tools of a family that have values in a split."""
        return [name for name in family.names() if all(self._allowed[name, key, split] for key in family.parameters)]

    def choose(self, names: list[str], split: str, rng: random.Random) -> str:
        """Draw one of these tools; in training, one that takes a single boolean is seldom drawn."""
        one_way = [len(self._allowed.get((name, "on", split), ())) == 1 for name in names]
        weights = [ONE_WAY_WEIGHT if only and split == "train" else 1 for only in one_way]
        return rng.choices(names, weights)[0]

    def call(self, name: str, split: str, rng: random.Random, fixed: dict | None = None) -> dict:
        """Draw a call of ``name`` with values of a split; ``fixed`` sets some of them."""
        arguments: dict = {}
        for parameter, kind in FAMILIES[name.split("_")[0]].parameters.items():
            values = self.allowed(name, parameter, split)
            if fixed and parameter in fixed:
                arguments[parameter] = fixed[parameter]
            else:
                arguments[parameter] = rng.sample(values, 2) if kind == "array" else rng.choice(values)
        return {"name": name, "arguments": arguments}

    def offer(self, wanted: list[str], rng: random.Random, size: int = 3) -> list[dict]:
        """Draw a list of ``size`` tools: the wanted ones and similar ones, in random order."""
        alike = [n for n in self.names if n not in wanted and any(n.split("_")[0] == w.split("_")[0] for w in wanted)]
        others = [n for n in self.names if n not in wanted and n not in alike]
        extra = size - len(wanted)
        chosen = wanted + [rng.choice(alike)] * (extra > 0) + rng.sample(others, max(0, extra - 1))
        rng.shuffle(chosen)
        return [describe(name) for name in chosen]

    def task(self, kind: str, split: str, rng: random.Random) -> Task:
        """Draw a task of ``kind`` (one of KINDS) for ``split`` ("train" or "test")."""
        return getattr(self, f"_{kind}")(split, rng)

    def next_task(self, tools: list[dict], split: str, rng: random.Random) -> Task:
        """Draw another request to tools that are already listed: for one call, two calls, or none."""
        names = [tool["name"] for tool in tools]
        draw = rng.random()
        if draw < 0.2:
            kind, wanted = "parallel", rng.sample(names, 2)
        elif draw < 0.45:
            verbs = {name.split("_")[0] for name in names}
            kind, wanted = "no_call", [rng.choice([name for name in self.names if name.split("_")[0] not in verbs])]
        else:
            wanted = [self.choose(names, split, rng)]
            kind = FAMILIES[wanted[0].split("_")[0]].kind
        calls = [self.call(name, split, rng) for name in wanted]
        turns = [user(" and ".join(map(say, calls)))]
        if kind == "no_call":
            return Task(kind, tools, turns, [], asked=calls[0])
        return Task(kind, tools, turns, calls)

    def _single(self, kind: str, split: str, rng: random.Random) -> Task:
        family = rng.choice([family for family in FAMILIES.values() if family.kind == kind])
        call = self.call(self.choose(self.usable(family, split), split, rng), split, rng)
        return Task(kind, self.offer([call["name"]], rng), [user(say(call))], [call])

    def _string(self, split, rng):
        return self._single("string", split, rng)

    def _integer(self, split, rng):
        return self._single("integer", split, rng)

    def _boolean(self, split, rng):
        return self._single("boolean", split, rng)

    def _list(self, split, rng):
        return self._single("list", split, rng)

    def _parallel(self, split, rng):
        verbs = rng.sample(["find", "call", "order"], 2)
        names = [rng.choice(FAMILIES[verb].names()) for verb in verbs]
        calls = [self.call(name, split, rng) for name in names]
        return Task("parallel", self.offer(names, rng), [user(" and ".join(map(say, calls)))], calls)

    def _multi_turn(self, split, rng):
        """Draw a search, its result, and a booking in the same city, which only the earlier turn names."""
        noun, booked = rng.choice(FAMILIES["find"].objects), rng.choice(FAMILIES["book"].names())
        first = f"find_{noun}"
        cities = [c for c in self.allowed(first, "city", split) if c in self.allowed(booked, "city", split)]
        if not cities:
            return self._multi_turn(split, rng)
        earlier = self.call(first, split, rng, {"city": rng.choice(cities)})
        call = self.call(booked, split, rng, {"city": earlier["arguments"]["city"]})
        request = f"book a {booked.split('_')[1]} there for {call['arguments']['days']} days"
        turns = [user(say(earlier)), {"role": "assistant", "calls": [earlier]}, {"role": "tool", "content": "done"}]
        return Task("multi_turn", self.offer([first, booked], rng), turns + [user(request)], [call], [earlier])

    def _no_call(self, split, rng):
        usable = [name for family in FAMILIES.values() for name in self.usable(family, split)]
        call = self.call(rng.choice(usable), split, rng)
        return Task("no_call", self.offer_others(call["name"], rng), [user(say(call))], [], asked=call)

    def offer_others(self, name: str, rng: random.Random, size: int = 3) -> list[dict]:
        """Draw a list of ``size`` tools outside the family of ``name``."""
        others = [other for other in self.names if other.split("_")[0] != name.split("_")[0]]
        return [describe(other) for other in rng.sample(others, size)]


def user(text: str) -> dict:
    return {"role": "user", "content": text}


def say(call: dict) -> str:
    """Return the request that a call answers, such as ``find a museum in "Oslo"``."""
    verb, noun = call["name"].split("_")
    spoken = {"noun": noun}
    for key, value in call["arguments"].items():
        if isinstance(value, bool):
            value = "on" if value else "off"
        elif isinstance(value, list):
            value = ", ".join(f'"{item}"' for item in value)
        elif isinstance(value, str):
            value = f'"{value}"'
        spoken[key] = value
    return FAMILIES[verb].phrase.format(**spoken)
