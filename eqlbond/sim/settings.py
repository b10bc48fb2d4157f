"""How a run is made."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Literal

import attrs

from eqlbond.core.multilink import Multilink
from eqlbond.sim.frames import Content

Frames = Literal["codec", "size"]
Pacing = Literal["frames", "pieces"]


@attrs.frozen
class Settings:
    """How a run is made; see `simulate`."""

    mtu: int
    seed: int
    frames: Frames
    pacing: Pacing
    content: Content
    until: float
    queue_bytes: int
    queue_time: float
    flow_of: Callable[[bytes], Hashable] | None
    multilink: Multilink | None
    trace: bool
