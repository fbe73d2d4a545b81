"""``python -m gateway.workers NAME CHANNEL SOCKETS``: one worker, as its supervisor starts it."""

import sys

from gateway.workers.process import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
