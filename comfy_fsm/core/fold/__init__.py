"""Folds entries into the board: whose a frame is, what an answer says, how a task ends."""
