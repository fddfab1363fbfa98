"""Offers workflows in API format to their authors: read from files, searched by title, changed, checked. No server."""
