"""Everything that can be known about a run before it starts.

    for warning in check_quickly(settings): …     # tooln1 train: raises UserError for the first fault
    exit_code = doctor(settings)                  # tooln1 doctor: prints all findings and the memory of each phase

checklist.py is the list of the checks; docs/doctor.md says what they find.
"""

from tooln1.checks.checklist import check_quickly
from tooln1.checks.doctor import doctor

__all__ = ["check_quickly", "doctor"]
