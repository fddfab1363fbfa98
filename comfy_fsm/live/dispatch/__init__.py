"""Queues jobs on the client's side, and gives them to servers."""
