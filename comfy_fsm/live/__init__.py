"""The half of the house that awaits."""
