"""A computer that a fake modem can call."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from eqlbond.modem.testing import FakeModem


class FakeHost:
    """A computer that answers calls: asks for name and password, and then gives the line to a function.

    Args:
        name, password: what it takes.
        ready: what it says when it has taken them.
        received: is given the modem and the bytes that come afterwards; by default they are sent back.
        hang_up_at: a prompt, ``login`` or ``password``, at which it hangs up instead.
        garbage: sent before the first prompt.
    """

    def __init__(
        self,
        name: str = "Pname",
        password: str = "password",
        *,
        ready: str = "",
        received: Callable[[FakeModem, bytes], object] | None = None,
        hang_up_at: str | None = None,
        garbage: bytes = b"",
    ) -> None:
        self.name, self.password = name, password
        self.ready = ready
        self.hang_up_at = hang_up_at
        self.garbage = garbage
        self._received = received if received is not None else lambda modem, data: modem.far_end_sends(data)
        self.asked: list[str] = []
        """What callers answered."""
        self.stage = "login"
        self._line = bytearray()
        self._modem: FakeModem | None = None

    def __call__(self, modem: FakeModem) -> Self:
        """Take a call; for `Exchange.hosts`."""
        self.stage, self._modem = "login", modem
        self._line.clear()
        return self

    def connected_to(self, modem: FakeModem) -> None:
        """The call is there."""
        modem.far_end_sends(self.garbage + b"\r\nWelcome\r\n")
        self._prompt("login")

    def _prompt(self, stage: str) -> None:
        assert self._modem is not None
        self.stage = stage
        if self.hang_up_at == stage:
            modem, self._modem = self._modem, None
            modem.hung_up()
            return
        self._modem.far_end_sends(b"login: " if stage == "login" else b"Password: ")

    def receive(self, data: bytes) -> None:
        """Bytes from the caller."""
        for at, byte in enumerate(data):
            if self._modem is None:
                return
            if self.stage == "open":
                self._received(self._modem, data[at:])
                return
            if self.stage == "login":
                self._modem.far_end_sends(bytes((byte,)))
            if byte != 0x0D:
                self._line.append(byte)
                continue
            word = self._line.decode("utf-8", "replace")
            self._line.clear()
            self.asked.append(word)
            if self.stage == "login":
                self._modem.far_end_sends(b"\n")
                if word:
                    self._prompt("password")
                else:
                    self._prompt("login")
            elif word == self.password and self.asked[-2] == self.name:
                self.stage = "open"
                self._modem.far_end_sends(b"\r\n" + self.ready.encode() if self.ready else b"")
            else:
                self._modem.far_end_sends(b"\r\nLogin incorrect\r\n")
                self._prompt("login")

    def hung_up(self) -> None:
        """The caller has gone."""
        self._modem = None
