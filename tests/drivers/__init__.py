"""The drivers' own test suites, run against the server and through the gateway, compared test by test.

Run by hand (``make drivers``): the suites are downloaded, some are built, and all of it takes the better part
of an hour. Not part of ``make test``.
"""
