"""Counts what a board holds: the report's summary, the catalogue of metrics, the alerts."""
