"""Puts files onto this disk: whole or not at all, under a safe name, in the folder that the caller named."""
