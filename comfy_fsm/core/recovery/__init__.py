"""Describes what servers showed of a prompt, and what a recovery found, as values."""
