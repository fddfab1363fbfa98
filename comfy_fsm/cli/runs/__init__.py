"""Carries out `run` and `resume`: their tasks, their files, their progress bars."""
