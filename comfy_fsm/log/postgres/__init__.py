"""Stores entries in PostgreSQL: many logs in one database, one writer each, on as many hosts as need be."""
