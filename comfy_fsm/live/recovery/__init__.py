"""Brings tasks to a decision by hand: probes servers, and writes down what they showed."""
