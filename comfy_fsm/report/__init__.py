"""Draws a board for its readers: an offline replay, as text, JSON or lines."""
