"""Telling people and programs of holds: what is to be told, the texts, and one module for each kind of channel.

Nothing here decides, and nothing waits for it: messages go through the outbox of the store.
"""
