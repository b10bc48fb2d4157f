"""Packets between a TUN descriptor and a bond: batches, no task and no timer for a packet."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Callable, Mapping

import attrs

from eqlbond.aio.master import Master
from eqlbond.codec.mss import clamp_mss
from eqlbond.codec.path_mtu import fragment, too_big
from eqlbond.exceptions import BondClosed
from eqlbond.packet import Packet

BATCH = 32
"""Packets that are read in one wake-up."""
_ERRORS_PER_SECOND = 20.0
_ERRORS_AT_ONCE = 20.0
"""ICMP errors are limited (RFC 1812 section 4.3.2.8, RFC 4443 section 2.4 (f))."""

_REASONS = {
    errno.EINVAL: "no IP packet",
    errno.EIO: "the interface is down",
    errno.ENOBUFS: "the interface is full",
    errno.ENOMEM: "the interface is full",
    errno.EMSGSIZE: "too big for the interface",
}


@attrs.frozen
class TunStats:
    """What went between the interface and the bond."""

    packets_read: int
    """From the system, to be sent by the bond."""
    bytes_read: int
    packets_written: int
    bytes_written: int
    clamped: int
    """TCP connections whose segments were made to fit."""
    fragmented: int
    errors_sent: int
    """ICMP errors that told a sender what fits."""
    dropped: Mapping[str, int]
    """Packets that were dropped here, in either direction, by reason."""


class TunPump:
    """Carries packets between a TUN descriptor and a bond until it is closed.

    While the bond is `full` the descriptor is not read, so that the system's own queue, and in the end the
    sender, waits.

    Args:
        descriptor: non-blocking; gives one packet a read, takes one a write. It stays the caller's.
        master: an open bond, whose packets nothing else takes.
        size: the largest packet that a read can give: the interface's MTU, bytes.
        mss: the MTU to which TCP connections are held in both directions (`clamp_mss`); None: not.
        on_failure: called when the descriptor fails, as when the interface is deleted.
    """

    def __init__(
        self,
        descriptor: int,
        master: Master,
        size: int,
        *,
        mss: int | None = None,
        on_failure: Callable[[OSError], object] | None = None,
    ) -> None:
        self._fd = descriptor
        self._master = master
        self.size = size
        self._mss = mss
        self._on_failure = on_failure
        self._loop = asyncio.get_running_loop()
        self._open = False
        self._reading = False
        self._packets_read = self._bytes_read = self._packets_written = self._bytes_written = 0
        self._clamped = self._fragmented = self._errors_sent = 0
        self._dropped: dict[str, int] = {}
        self._allowance, self._allowed_at = _ERRORS_AT_ONCE, self._loop.time()

    def start(self) -> None:
        """Begin. Raises `RuntimeError` where something else takes the bond's packets."""
        self._master.deliver_to(self._write)
        self._open = True
        self._resume()

    def close(self) -> None:
        """Stop; may be called again."""
        if self._open:
            self._open = False
            self._pause()
            self._master.deliver_to(None)

    def stats(self) -> TunStats:
        """A snapshot."""
        return TunStats(
            packets_read=self._packets_read,
            bytes_read=self._bytes_read,
            packets_written=self._packets_written,
            bytes_written=self._bytes_written,
            clamped=self._clamped,
            fragmented=self._fragmented,
            errors_sent=self._errors_sent,
            dropped=dict(self._dropped),
        )

    def _drop(self, reason: str, count: int = 1) -> None:
        self._dropped[reason] = self._dropped.get(reason, 0) + count

    # -- from the system

    def _resume(self) -> None:
        if self._open and not self._reading:
            self._reading = True
            self._loop.add_reader(self._fd, self._readable)

    def _pause(self) -> None:
        if self._reading:
            self._reading = False
            self._loop.remove_reader(self._fd)

    def _readable(self) -> None:
        """Read up to a batch, or what the bond has room for."""
        master = self._master
        room = master.room
        packets: list[bytes] = []
        read, fd, most, largest = os.read, self._fd, self.size + 1, 0
        failure = None
        try:
            while room > 0 and len(packets) < BATCH:
                packet = read(fd, most)
                size = len(packet)
                if not size:
                    failure = OSError(errno.EIO, "it has ended")
                    break
                room -= size
                if size > largest:
                    largest = size
                packets.append(packet)
        except BlockingIOError:
            pass
        except OSError as error:
            failure = error
        if packets:
            self._packets_read += len(packets)
            self._bytes_read += sum(map(len, packets))
            if self._mss is not None or largest > self.size or largest > master.mtu:
                packets = self._fitting(packets)
            try:
                master.send_batch(packets)
            except BondClosed:
                self._drop("the bond is closed", len(packets))
                self._pause()
                return
        if failure is not None:
            self._failed(failure)
        elif room <= 0:
            self._pause()
            master.when_room(self._resume)

    def _failed(self, error: OSError) -> None:
        self._pause()
        if self._on_failure is not None:
            self._on_failure(error)

    def _fitting(self, packets: list[bytes]) -> list[bytes]:
        """The packets as they go out: MSS clamped, what is too big answered or cut."""
        mtu = self._master.mtu
        mss = self._mss
        size = self.size
        kept: list[bytes] = []
        for packet in packets:
            if mss is not None:
                clamped = clamp_mss(packet, mss)
                if clamped is not packet:
                    self._clamped += 1
                    packet = clamped
            if len(packet) > size:
                self._drop("cut short: the interface's MTU has grown")
            elif len(packet) > mtu:
                kept += self._too_big(packet, mtu)
            else:
                kept.append(packet)
        return kept

    def _too_big(self, packet: bytes, mtu: int) -> list[bytes]:
        pieces = fragment(packet, mtu)
        if pieces:
            self._fragmented += 1
            return pieces
        self._drop("too big")
        answer = too_big(packet, mtu)
        if answer is not None and self._may_tell():
            try:
                os.write(self._fd, answer)
                self._errors_sent += 1
            except OSError:
                pass  # the sender tries again, and is told then
        return []

    def _may_tell(self) -> bool:
        now = self._loop.time()
        self._allowance = min(_ERRORS_AT_ONCE, self._allowance + (now - self._allowed_at) * _ERRORS_PER_SECOND)
        self._allowed_at = now
        if self._allowance < 1:
            return False
        self._allowance -= 1
        return True

    # -- from the bond

    def _write(self, packets: list[Packet]) -> None:
        write, fd, mss = os.write, self._fd, self._mss
        count = size = 0
        for packet in packets:
            payload = packet.payload
            if mss is not None:
                clamped = clamp_mss(payload, mss)
                if clamped is not payload:
                    self._clamped += 1
                    payload = clamped
            try:
                size += write(fd, payload)
                count += 1
            except BlockingIOError:
                self._drop("the interface is full")
            except OSError as error:
                self._drop(_REASONS.get(error.errno or 0, f"not taken: {error.strerror}"))
        self._packets_written += count
        self._bytes_written += size
