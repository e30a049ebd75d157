"""What the doctor found, one line each."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field

from tooln1.errors import UserError

OK, WARNING, FAULT = "ok", "warning", "fault"


@dataclass(frozen=True)
class Finding:
    """One line: what was found and expected, and the setting to change or the command to run."""

    level: str
    topic: str
    text: str

    def __str__(self) -> str:
        return f"{self.level:<8} {self.topic:<10} {' '.join(self.text.split())}"


@dataclass
class Findings:
    """All findings of an examination, in order.

    With ``planning`` the run is meant for another machine: what is wrong with this one is then a warning only.
    """

    planning: bool = False
    items: list[Finding] = field(default_factory=list)

    def ok(self, topic: str, text: str) -> None:
        self.items.append(Finding(OK, topic, text))

    def warn(self, topic: str, text: str) -> None:
        self.items.append(Finding(WARNING, topic, text))

    def fault(self, topic: str, text: str, *, here: bool = False) -> None:
        """A fault; ``here``: of this machine's and its files', not of the run's settings."""
        if here and self.planning:
            self.warn(topic, f"on this machine: {text}")
        else:
            self.items.append(Finding(FAULT, topic, text))

    @contextlib.contextmanager
    def checking(self, topic: str, *, here: bool = False) -> Iterator[None]:
        """Turns the UserError of a check into a finding, and goes on after it."""
        try:
            yield
        except UserError as error:
            self.fault(topic, str(error), here=here)

    @property
    def faults(self) -> list[Finding]:
        return [item for item in self.items if item.level == FAULT]

    @property
    def warnings(self) -> list[Finding]:
        return [item for item in self.items if item.level == WARNING]
