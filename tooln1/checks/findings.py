"""What a check finds: one line each."""

from dataclasses import dataclass

OK, WARNING, FAULT = "ok", "warning", "fault"


@dataclass(frozen=True)
class Finding:
    """One line: what was found, where, and what to do about it. The list of checks gives it its subject.

    A conclusion is dropped if its check has found a problem.
    """

    severity: str
    message: str
    is_conclusion: bool = False
    subject: str = ""

    def __str__(self) -> str:
        return f"{self.severity:<8} {self.subject:<10} {' '.join(self.message.split())}"


def ok(message: str) -> Finding:
    return Finding(OK, message, is_conclusion=True)


def fact(message: str) -> Finding:
    return Finding(OK, message)


def warning(message: object) -> Finding:
    return Finding(WARNING, str(message))


def fault(message: object) -> Finding:
    return Finding(FAULT, str(message))
