"""The configurations that docs/peers shows, which are those that the tests run."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

PEERS = Path(__file__).parents[2] / "docs" / "peers"


def shown(page: str, language: str) -> list[str]:
    """The blocks of code of that language in a page, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```", (PEERS / page).read_text(), re.MULTILINE | re.DOTALL)


def replaced(text: str, changes: Mapping[str, str]) -> str:
    """Each key by its value, all at once, so that devices may change places; every key has to be there."""
    missing = [old for old in changes if old not in text]
    assert not missing, f"not in the page: {missing}"
    return re.sub("|".join(map(re.escape, changes)), lambda match: changes[match[0]], text)


def with_devices(text: str, devices: Sequence[str]) -> str:
    """/dev/ttyUSB0 and so on by these."""
    return replaced(text, {f"/dev/ttyUSB{number}": device for number, device in enumerate(devices)})
