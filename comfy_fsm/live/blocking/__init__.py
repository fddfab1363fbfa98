"""The same client, its tasks and its dispatcher for programs without an event loop."""
