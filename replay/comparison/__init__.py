"""Two judgements of the same, compared task by task."""
