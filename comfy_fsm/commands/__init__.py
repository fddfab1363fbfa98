"""What `python -m comfy_fsm` can do: a file for each kind of errand, which loads what it needs when it is run."""
