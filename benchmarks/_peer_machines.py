"""The guests that `benchmarks.peers` has booted, and a directory for its files: made when needed, gone at the end."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.interop.linux.guest import Guest, GuestError
from tests.interop.linux.image import Image, build


class Machines:
    """What the systems are made on: guests, booted when they are first needed and used again; a directory for files."""

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="eqlbond-peers-"))
        self._guests: dict[int, Guest] = {}
        self._image: Image | None = None
        self._count = 0

    @property
    def image(self) -> Image:
        """The guest's kernel and files, and the helper for this end."""
        if self._image is None:
            self._image = build()
        return self._image

    def guest(self, number: int) -> Guest:
        """A guest of this number, with nothing of the last system in it. One that does not answer is booted anew."""
        if number in self._guests:
            try:
                self._guests[number].reset()
                return self._guests[number]
            except (GuestError, OSError):
                self._guests.pop(number).close()
        self._guests[number] = Guest(image=self.image)
        return self._guests[number]

    def room(self) -> Path:
        """A new directory, for one system."""
        self._count += 1
        room = self.directory / str(self._count)
        room.mkdir()
        return room

    def close(self) -> None:
        """Switch the guests off and remove the files."""
        for guest in self._guests.values():
            guest.close()
        self._guests.clear()
        shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
