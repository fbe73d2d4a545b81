"""The demonstration: an embedded PostgreSQL, sample data, the gateway in front of it, and a story to play."""
