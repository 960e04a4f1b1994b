"""`python -m voxtra` is the command `voxtra`."""

from __future__ import annotations

import sys

from voxtra.cli import main

if __name__ == "__main__":
    sys.exit(main())
