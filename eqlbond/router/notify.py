"""Telling systemd how a service does: a datagram to ``$NOTIFY_SOCKET`` (sd_notify(3))."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping


class Notifier:
    """Says to systemd what there is to say; without systemd, nothing.

    Args:
        environment: where ``NOTIFY_SOCKET``, ``WATCHDOG_USEC`` and ``WATCHDOG_PID`` are looked up; None: the process's.
    """

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        values = os.environ if environment is None else environment
        self._address = values.get("NOTIFY_SOCKET", "")
        self._last_status = ""
        self.watchdog: float | None = None
        """Seconds within which the watchdog wants to hear from us; None: there is none."""
        microseconds = values.get("WATCHDOG_USEC", "")
        if (
            microseconds.isdecimal()
            and int(microseconds)
            and values.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        ):
            self.watchdog = int(microseconds) / 1e6

    def _tell(self, *lines: str) -> None:
        if not self._address:
            return
        # A name that begins with @ is in the abstract namespace, where it begins with a zero byte.
        address = "\0" + self._address[1:] if self._address[0] == "@" else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
                sock.setblocking(False)
                sock.connect(address)
                sock.send("\n".join(lines).encode())
        except OSError:  # systemd is restarting, or its queue is full; it hears the next one
            self._last_status = ""

    def ready(self) -> None:
        """The service has started, or has reloaded."""
        self._tell("READY=1")

    def reloading(self) -> None:
        """The service has begun to reload (wanted by ``Type=notify-reload``)."""
        self._tell("RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def stopping(self) -> None:
        """The service has begun to stop."""
        self._tell("STOPPING=1")

    def status(self, text: str) -> None:
        """One line about how it does; said when it changes."""
        if text != self._last_status:
            self._last_status = text
            self._tell(f"STATUS={text}")

    def alive(self) -> None:
        """For the watchdog."""
        self._tell("WATCHDOG=1")
