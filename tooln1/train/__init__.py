"""Long training runs: composing, checking, launching, resuming and keeping what a run makes."""
