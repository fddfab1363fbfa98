"""Explains a task: what its state is, what is missing, what to do next."""
