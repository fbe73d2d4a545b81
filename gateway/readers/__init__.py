"""SQL that is too heavy for the event loop, read in processes of their own.

The pool with its queue, the gateway's end of one reader, what the two say to each other, and the reader itself, which
imports no more than it needs: so this package itself holds nothing.
"""
