"""Opens the WebSocket of a window, reads it within bounds, and opens it again."""
