"""The PostgreSQL frontend/backend protocol, version 3, without any I/O.

Bytes go in, events come out, bytes to send are collected. Nothing in this package waits, logs, or reads
a clock or a socket; the gateway does that around it.

Source: PostgreSQL documentation, chapter "Frontend/Backend Protocol".
"""
