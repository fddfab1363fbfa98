"""Takes out what may not be written down, before the log gets a line."""
