"""Plays recorded traces to a client."""
