"""Formats of a replay that other tools show: Markdown for an issue, JUnit for CI."""
