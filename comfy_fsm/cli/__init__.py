"""Holds the commands of `python -m comfy_fsm`: a file for each group, which loads what it needs when run."""
