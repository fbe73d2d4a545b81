"""``python -m gateway.cli``, for where the command is not on the path."""

import sys

from gateway.cli import main

if __name__ == "__main__":
    sys.exit(main())
