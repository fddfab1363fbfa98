"""Faults done to a recorded trace, and what would have come of it."""
