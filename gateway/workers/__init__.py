"""Several processes on one port: a supervisor and its workers, and what they say to each other.

A worker accepts clients, judges and forwards. What there may be only one of stays with the supervisor: the store
with its holds, the audit's file, the management port, the configuration, the count of sessions.
"""
