"""Picture of a replay: one page without a network, or spans for Perfetto."""
