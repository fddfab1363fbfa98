"""Workflows in API format as their authors hold them: read from files, found by title, changed, checked. No server."""
