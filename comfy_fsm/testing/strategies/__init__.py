"""Hypothesis strategies: true runs and every mixture of them, observations of every kind, faults and when they come."""

from comfy_fsm.testing.strategies.arbitrary import observations
from comfy_fsm.testing.strategies.runs import mixtures, true_runs
from comfy_fsm.testing.strategies.scripted import TrueRun
from comfy_fsm.testing.strategies.troubles import faults, schedules

__all__ = ["TrueRun", "faults", "mixtures", "observations", "schedules", "true_runs"]
