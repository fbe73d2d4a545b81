"""The management port: the HTTP API, the page for people who decide, and the server of both.

``server.ManagementServer`` serves what ``app.create_app`` makes of ``services.Services``.
"""
