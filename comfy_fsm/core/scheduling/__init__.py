"""Decides which job goes next, and to which server."""
