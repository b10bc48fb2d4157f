"""The configurations that docs/peers shows, which are those that the tests run."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

PEERS = Path(__file__).parents[2] / "docs" / "peers"


def section(page: str, title: str = "") -> str:
    """The text under a heading of the second level; by default all of the page."""
    text = (PEERS / page).read_text()
    return text.split(f"\n## {title}\n")[1].split("\n## ")[0] if title else text


def shown(page: str, language: str, title: str = "") -> list[str]:
    """The blocks of code of that language in a page or in one of its sections, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```$", section(page, title), re.MULTILINE | re.DOTALL)


def replaced(text: str, changes: Mapping[str, str]) -> str:
    """Each key by its value, all at once, so that devices may change places; every key has to be there."""
    missing = [old for old in changes if old not in text]
    assert not missing, f"not in the page: {missing}"
    return re.sub("|".join(map(re.escape, changes)), lambda match: changes[match[0]], text)


def with_devices(text: str, devices: Sequence[str]) -> str:
    """/dev/ttyUSB0 and so on by these."""
    return replaced(text, {f"/dev/ttyUSB{number}": device for number, device in enumerate(devices)})


def with_lines(text: str, devices: Sequence[str], rates: Sequence[int], more: str = "") -> str:
    """A file of ours with so many of its lines, each as the page has it but for its device and its rate.

    Args:
        text: the file. Where it has fewer lines, its last one stands for the others.
        devices: of the lines.
        rates: bit/s; where there are fewer than devices, the last one holds for the others.
        more: TOML that each line gets besides.
    """
    head, *lines = text.split("[[slave]]\n")
    for number, device in enumerate(devices):
        shown_as = min(number, len(lines) - 1)
        rate = rates[min(number, len(rates) - 1)]
        changes = {f"line{shown_as}": f"line{number}", f"/dev/ttyUSB{shown_as}": device, "115200": str(rate)}
        head += f"[[slave]]\n{replaced(lines[shown_as], changes).rstrip()}\n{more}\n\n"
    return head
