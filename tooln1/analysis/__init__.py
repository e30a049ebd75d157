"""What responses earn and why: the reason of each score, and the scores of a file."""
