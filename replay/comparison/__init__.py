"""Comparison of two judgements of the same, task by task."""
