"""Readers of what other tools recorded: a browser's HAR, and bare frames of a script. Each makes a trace of it."""
