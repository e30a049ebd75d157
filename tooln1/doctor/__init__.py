"""What can be known of a run before GPU hours are spent: `tooln1 doctor`, described in docs/doctor.md."""
