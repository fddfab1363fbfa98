"""A recorded trace played to a client."""
