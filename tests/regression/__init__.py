"""``make regression-sql``: PostgreSQL's own regression tests as reading matter.

``source`` fetches them, ``script`` cuts them into statements as psql does, ``readers`` reads each in a process that
may die of it, ``table`` counts. Nothing of PostgreSQL's source is part of this repository.
"""
