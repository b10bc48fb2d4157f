"""What the control socket answers, for people."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any


def rate(value: float | None) -> str:
    """``57600 bit/s``."""
    return "not paced" if value is None else f"{value:.0f} bit/s"


def settings(values: Mapping[str, Any]) -> str:
    """A configuration, a line for each value."""
    width = max(map(len, values), default=0)
    return "\n".join(f"{key.ljust(width)}  {_value(value)}" for key, value in values.items())


def _value(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "-"
    if isinstance(value, Mapping):
        return ", ".join(f"{key}={_value(item)}" for key, item in value.items()) or "-"
    return f"{value:g}" if isinstance(value, float) and not value.is_integer() else str(_whole(value))


def _whole(value: Any) -> Any:
    return int(value) if isinstance(value, float) else value


def status(values: Mapping[str, Any], before: Mapping[str, Any] | None = None, seconds: float = 0.0) -> str:
    """The bond in a line, and a table of its lines; with the last status, what they carry now."""
    bond = values["bond"]
    lines = bond["lines"]
    up = sum(line["up"] for line in lines)
    head = f"bond {'up' if values['up'] else 'down'}: {up} of {len(lines)} lines up"
    if values["min_slaves"] > 1:
        head += f" (at least {values['min_slaves']})"
    head += f", {rate(values['rate'])}, MTU {values['mtu']}, {bond['queued_packets']} packets wait"
    interface = values.get("interface")
    if interface:
        head += f", interface {interface}"
    old = {line["name"]: line for line in before["bond"]["lines"]} if before and seconds > 0 else None
    title = [
        "line",
        "state",
        "bit/s",
        "priority",
        "sent",
        "received",
        "planned",
        "taken back",
        "dropped",
        "lost",
        "ups",
    ]
    rows = [title[:5] + (["out bit/s", "in bit/s"] if old is not None else []) + title[5:]]
    for line in lines:
        row = [
            line["name"],
            values.get("states", {}).get(line["name"], line["state"]) if not line["up"] else line["state"],
            "-" if line["rate"] is None else f"{line['rate']:.0f}",
            f"{line['priority']:.0f}",
            str(line["packets_sent"]),
        ]
        if old is not None:
            last = old.get(line["name"], line)
            moved = (line[key] - last[key] for key in ("bytes_sent", "bytes_received"))
            row += [f"{max(0, count) * 8 / seconds:.0f}" for count in moved]
        row += [
            str(line["packets_received"]),
            str(line["planned_packets"]),
            str(line["reclaimed"]),
            str(sum(line["dropped"].values())),
            str(sum(line["lost"].values())),
            str(line["connections"]),
        ]
        rows.append(row)
    reasons = values.get("reasons", {})
    down = [f"{line['name']}: {reasons[line['name']]}" for line in lines if line["name"] in reasons and not line["up"]]
    return "\n".join([head, *table(rows), *down])


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Columns, the first two to the left."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) if n < 2 else cell.rjust(width) for n, (cell, width) in enumerate(cells)).rstrip()
        for cells in (zip(row, widths, strict=True) for row in rows)
    ]


def event(values: Mapping[str, Any]) -> str:
    """An event in a line."""
    clock = time.strftime("%H:%M:%S", time.localtime(values["time"]))
    name = values.get("slave")
    rest = {key: value for key, value in values.items() if key not in ("event", "time", "slave") and value is not None}
    words = [clock, values["event"], *([name] if name else [])]
    return " ".join(words + [f"{key}={_value(value)}" for key, value in rest.items()])


def changes(values: Mapping[str, Any]) -> str:
    """What a reload has changed."""
    said = []
    for key, word in (
        ("added", "enslaved"),
        ("removed", "emancipated"),
        ("reopened", "opened anew"),
        ("changed", "changed"),
        ("unchanged", "left alone"),
    ):
        if values.get(key):
            said.append(f"{word}: {', '.join(values[key])}")
    if values.get("restart"):
        said.append(f"needs a restart of eqlbond run: {', '.join(values['restart'])}")
    said += [f"not done: {problem}" for problem in values.get("problems", [])]
    return "\n".join(said) or "nothing has changed"
