"""Stores entries: the SQLite log with its reader and its one writer, the log in memory, traces."""
