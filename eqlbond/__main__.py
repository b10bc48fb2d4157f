"""``python -m eqlbond``: the command `eqlbond`."""

from __future__ import annotations

import sys

from eqlbond.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
