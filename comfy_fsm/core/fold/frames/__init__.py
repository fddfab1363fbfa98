"""Folds frames: whose each is, and what it says."""
