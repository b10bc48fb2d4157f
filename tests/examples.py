"""How many random examples are tried: a few each time, more where `EQLBOND_EXAMPLES` says how many times as many."""

from __future__ import annotations

import os

TIMES = int(os.environ.get("EQLBOND_EXAMPLES", "1"))


def examples(count: int) -> int:
    """`count` examples, or as many times more as are asked for."""
    return count * TIMES
