"""A replay as a picture: one page without a network, or spans for Perfetto."""
