"""What a check finds: one line each."""

from dataclasses import dataclass

OK, WARNING, FAULT = "ok", "warning", "fault"


@dataclass(frozen=True)
class Finding:
    """One line: what was found, where, and what to do about it. The list of checks gives it its subject."""

    severity: str
    message: str
    subject: str = ""

    def __str__(self) -> str:
        return f"{self.severity:<8} {self.subject:<10} {self.message}"


def ok(message: object) -> Finding:
    return Finding(OK, " ".join(str(message).split()))


def warning(message: object) -> Finding:
    return Finding(WARNING, " ".join(str(message).split()))


def fault(message: object) -> Finding:
    return Finding(FAULT, " ".join(str(message).split()))
