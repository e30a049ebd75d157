"""Everything that can be known about a run before it starts.

    run = UpcomingRun(settings)
    for warning in refuse_faults(run, QUICK): …   # tooln1 train, then WITH_VERL: raises UserError for faults
    exit_code = doctor(settings)                  # tooln1 doctor: prints all findings and the memory of each phase

checklist.py is the list of the checks; docs/doctor.md says what they find.
"""

from tooln1.checks.checklist import QUICK, WITH_VERL, Check, refuse_faults
from tooln1.checks.doctor import doctor
from tooln1.checks.upcoming_run import OPENS_THINK, UpcomingRun

__all__ = ["OPENS_THINK", "QUICK", "WITH_VERL", "Check", "UpcomingRun", "doctor", "refuse_faults"]
