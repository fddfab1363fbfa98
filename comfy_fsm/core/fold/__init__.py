"""Folds entries into the board: attributes frames, reads answers, settles tasks."""
