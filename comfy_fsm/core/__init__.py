"""Computes: no await, clock, disk, socket or logging below this folder. Read its five files first."""
