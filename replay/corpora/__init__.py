"""Corpora: many traces, replayed in many processes, their rows kept as Parquet."""
