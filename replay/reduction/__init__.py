"""Reduction: the smallest part of a trace that still shows a finding, for the same reason."""
