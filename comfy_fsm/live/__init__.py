"""Awaits: a client of real servers, from the sockets up to the dispatcher."""
