"""Receives, appends, folds, performs: the driver of the core, and its only clock."""
