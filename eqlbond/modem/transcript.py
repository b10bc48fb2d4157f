"""The record of a dialogue, for watching; secrets never get into it."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Literal

import attrs

__all__ = ["MASK", "Entry", "Transcript", "Watcher"]

MASK = "****"
_LONGEST_LINE = 1024
_SAID = 5  # lines that an error may quote

_log = logging.getLogger("eqlbond.modem")


@attrs.frozen
class Entry:
    """A line of a transcript."""

    time: float
    """Seconds of the event loop's clock."""
    device: str
    kind: Literal["sent", "received", "note"]
    text: str
    """Printable; a secret, or the echo of one, is `MASK`."""

    def __str__(self) -> str:
        mark = {"sent": ">", "received": "<", "note": "-"}[self.kind]
        return f"{self.device} {mark} {self.text}"


Watcher = Callable[[Entry], object]
"""Is given each entry of a transcript as it is made."""


class Transcript:
    """Keeps the last entries of dialogues, and lets one task follow them: a `Watcher` and an async iterator.

    ::

        transcript = Transcript()
        modem = Modem(dial="555-1212", transcript=transcript)
        ...
        async for entry in transcript:
            print(entry)

    Args:
        limit: entries that are kept; the oldest go first.
    """

    def __init__(self, limit: int = 1000) -> None:
        self.entries: deque[Entry] = deque(maxlen=limit)
        self._news: deque[Entry] = deque(maxlen=limit)
        self._waiter: asyncio.Future[None] | None = None

    def __call__(self, entry: Entry) -> None:
        """Take an entry."""
        self.entries.append(entry)
        self._news.append(entry)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def __str__(self) -> str:
        return "\n".join(map(str, self.entries))

    def __aiter__(self) -> AsyncIterator[Entry]:
        return self

    async def __anext__(self) -> Entry:
        while not self._news:
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        return self._news.popleft()


def printable(text: bytes) -> str:
    """Bytes as text that is safe to show: what is not printable ASCII as an escape."""
    return "".join(chr(c) if 32 <= c < 127 else f"\\x{c:02x}" for c in text)


class Scribe:
    """Writes a dialogue down, line by line, without its secrets."""

    def __init__(self, device: str, watchers: tuple[Watcher, ...] = ()) -> None:
        self.device = device
        self._watchers = watchers
        self._secrets: list[bytes] = []
        self._partial = bytearray()
        self._blind = False
        self._time = 0.0
        self._said: deque[str] = deque(maxlen=_SAID)

    def hide(self, secret: bytes) -> None:
        """Never show this text again, sent or received."""
        if secret and secret not in self._secrets:
            self._secrets.append(secret)
            self._secrets.sort(key=len, reverse=True)

    def blind(self, on: bool) -> None:
        """While on, show nothing of what is received: the other end types a secret."""
        if on != self._blind:
            self._show(self._time, ended=True)
            self._blind = on

    def mask(self, text: bytes) -> str:
        """The text without its secrets, printable."""
        return MASK.join(printable(part) for part in self._split(text))

    def _split(self, text: bytes) -> list[bytes]:
        parts = [text]
        for secret in self._secrets:
            parts = [piece for part in parts for piece in part.split(secret)]
        return parts

    def sent(self, data: bytes, now: float, *, secret: bool = False) -> None:
        """Something is sent."""
        self._show(now)
        text = data.rstrip(b"\r\n")
        if secret:
            self.hide(text)
        self._write(now, "sent", (MASK if secret else self.mask(text)) if text else "(return)")

    def received(self, data: bytes, now: float) -> None:
        """Something was received; it is shown when its line is complete, or when something is sent."""
        self._time = now
        *lines, rest = data.replace(b"\r", b"\n").split(b"\n")
        for line in lines:
            self._partial += line
            self._show(now, ended=True)
        self._partial += rest
        if len(self._partial) > _LONGEST_LINE:
            self._show(now)

    def note(self, text: str, now: float) -> None:
        """Something to say about the dialogue."""
        self._show(now)
        self._write(now, "note", self.mask(text.encode("utf-8", "replace")))

    def flush(self, now: float) -> None:
        """The dialogue is at its end: show what is left."""
        self._show(now, ended=True)

    def said(self) -> str:
        """The last lines received, masked, for an error's text."""
        lines = list(self._said)
        if self._partial and not self._blind:
            lines.append(self._without_end(bytes(self._partial)))
        return " | ".join(lines[-_SAID:])[-200:]

    def _begun(self, text: bytes) -> int:
        """Bytes at the end of a text that may be the beginning of a secret."""
        most = max(map(len, self._secrets), default=1) - 1
        for size in range(min(most, len(text)), 0, -1):
            end = text[-size:]
            if any(len(secret) > size and secret.startswith(end) for secret in self._secrets):
                return size
        return 0

    def _without_end(self, text: bytes) -> str:
        # A beginning that goes no further: of a letter or two it would say more to mask it than to show it.
        size = self._begun(text)
        return self.mask(text[:-size]) + MASK if size > 2 else self.mask(text)

    def _show(self, now: float, *, ended: bool = False) -> None:
        """Show what was received; of a line that has not ended, not what may become a secret's echo."""
        text = bytes(self._partial)
        if not text:
            return
        held = 0 if ended or self._blind else self._begun(text)
        shown = text[: len(text) - held]
        self._partial = bytearray(text[len(text) - held :])
        if shown:
            line = MASK if self._blind else self._without_end(shown) if ended else self.mask(shown)
            self._said.append(line)
            self._write(now, "received", line)

    def _write(self, now: float, kind: Literal["sent", "received", "note"], text: str) -> None:
        entry = Entry(now, self.device, kind, text)
        _log.debug("%s", entry)
        for watcher in self._watchers:
            try:
                watcher(entry)
            except Exception:
                _log.exception("%s: a watcher of the transcript failed", self.device)
