"""Explains a task: what is so, what is missing, what to do next."""
