"""Holds what is known: tasks, servers, sockets, counters. It stores and counts, and decides nothing."""
