"""Lines of a trace, held in memory: read, put in order, judged."""
