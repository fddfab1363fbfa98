"""Finds out what would keep a client from working here: of this machine, of a log, of servers. Changes nothing."""
