"""Analyses: what may be asked of each trace of a corpus. Each declares its tables, and answers with rows of them."""
