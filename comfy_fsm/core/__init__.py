"""The half that computes: no await, clock, disk, socket or logging below this folder."""
