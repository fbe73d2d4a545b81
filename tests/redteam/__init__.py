"""``make redteam``: a corpus of statements through a real gateway against a real server.

``corpus`` reads the lines, ``arena`` gives each its own copy of the database, ``attempt`` runs one and writes down
what came of it, ``scoring`` says what that is worth, ``campaign`` runs them all.
"""
