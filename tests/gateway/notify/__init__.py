"""Tests of gateway.notify."""
