"""Criteria that somebody else has to be asked about: web services, and the inspected database itself."""

from gateway.criteria.checks import Checks, Subject

__all__ = ["Checks", "Subject"]
