"""Gives applications their client: windows, task handles, callbacks, outputs."""
