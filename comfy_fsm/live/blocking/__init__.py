"""Offers client, tasks and dispatcher to programs without an event loop."""
