"""Holds what is known: tasks, servers, sockets, counters. It finds and counts, and decides nothing."""
