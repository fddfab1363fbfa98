"""Traces without what is personal in them: other names for ids, hosts, files and texts, and the same verdict."""
