"""Hypothesis strategies: true runs and every mixture of them, and observations of every kind."""

from comfy_fsm.testing.strategies.arbitrary import observations
from comfy_fsm.testing.strategies.runs import mixtures, true_runs
from comfy_fsm.testing.strategies.scripted import TrueRun

__all__ = ["TrueRun", "mixtures", "observations", "true_runs"]
