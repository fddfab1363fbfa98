"""A Replay as text or JSON, one file each."""
