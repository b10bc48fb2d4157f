"""A file over a bond of datagrams: pieces with numbers, and missing ones asked for again.

The bond may reorder and lose; SLIP may also damage. So each piece has a number, each message a CRC, and the receiver
asks for what it lacks once the sender says that all has left. Messages, with integers in network order; behind each of
them stands the CRC-32 of all of it (4):

=====  ==============================================================  ===========
type   fields                                                          direction
=====  ==============================================================  ===========
``D``  serial of this sending (4), number of the piece (4), the piece  to receiver
``E``  round (4), pieces in all (4), size (8), SHA-256 of the file     to receiver
``A``  round (4), numbers of missing pieces (4 each)                   to sender
``F``  round (4), 1 if the checksum is right                           to sender
=====  ==============================================================  ===========
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import struct
import zlib
from collections.abc import Callable

from eqlbond.aio.master import Master
from eqlbond.exceptions import EqlbondError, SendError
from eqlbond.packet import Packet

_CRC = struct.Struct("!I")
_DATA = struct.Struct("!cII")
_END = struct.Struct("!cIIQ32s")
_ASK = struct.Struct("!cI")
_FINISH = struct.Struct("!cI?")
OVERHEAD = _DATA.size + _CRC.size
"""Bytes of a piece's packet that are not the piece."""
LEAST_MTU = _END.size + _CRC.size
"""Bytes of the largest message that is not a piece."""


class TransferFailed(EqlbondError):
    """The other end did not answer, or the file arrived wrong."""


def seal(message: bytes) -> bytes:
    """The message with its CRC behind it."""
    return message + _CRC.pack(zlib.crc32(message))


def unseal(packet: bytes) -> bytes | None:
    """The message in a packet; None where the CRC is wrong."""
    message = packet[: -_CRC.size]
    return message if packet[-_CRC.size :] == _CRC.pack(zlib.crc32(message)) else None


class FileReceiver:
    """The receiving end: takes packets, says what to answer."""

    def __init__(self, answer: Callable[[bytes], object], mtu: int) -> None:
        self._answer = answer
        self._most = (mtu - _ASK.size - _CRC.size) // 4
        self._pieces: dict[int, bytes] = {}
        self._highest = -1
        self.received = 0
        """Pieces, each counted once."""
        self.reordered = 0
        """Pieces that came after one that was sent later (RFC 4737)."""
        self.damaged = 0
        self.duplicates = 0
        self.data: bytes | None = None
        self.checksum_right = False

    def take(self, packets: list[Packet]) -> None:
        """Packets have arrived."""
        for packet in packets:
            message = unseal(packet.payload) or b""
            if message[:1] == b"D" and len(message) >= _DATA.size:
                self._take_piece(message)
            elif message[:1] == b"E" and len(message) == _END.size:
                self._take_end(message)
            else:
                self.damaged += 1

    def _take_piece(self, message: bytes) -> None:
        _, serial, number = _DATA.unpack_from(message)
        piece = message[_DATA.size :]
        if serial < self._highest:
            self.reordered += 1
        else:
            self._highest = serial
        if number in self._pieces:
            self.duplicates += 1
        else:
            self._pieces[number] = piece
            self.received += 1

    def _say(self, message: bytes) -> None:
        with contextlib.suppress(SendError):  # a lost answer is asked for again
            self._answer(seal(message))

    def _take_end(self, message: bytes) -> None:
        _, turn, total, size, digest = _END.unpack(message)
        if self.data is None and total <= 1 << 24:
            missing = [n for n in range(total) if n not in self._pieces]
            if missing:
                some = missing[: self._most]
                self._say(_ASK.pack(b"A", turn) + struct.pack(f"!{len(some)}I", *some))
                return
            data = b"".join(self._pieces[n] for n in range(total))
            self.checksum_right = len(data) == size and hashlib.sha256(data).digest() == digest
            self.data = data
        self._say(_FINISH.pack(b"F", turn, self.checksum_right))


class FileSender:
    """The sending end.

    Args:
        master: the bond.
        data: the file.
        mtu: the largest packet, bytes; None: the bond's.
        ordered: the bond keeps order: what asks for missing pieces stays behind those on their way.
    """

    def __init__(self, master: Master, data: bytes, mtu: int | None = None, *, ordered: bool = False) -> None:
        self._master = master
        self._priority = 0 if ordered else 1
        mtu = master.mtu if mtu is None else mtu
        if mtu < LEAST_MTU:
            raise TransferFailed(f"an MTU of {mtu} bytes: the transfer needs {LEAST_MTU}")
        piece = mtu - OVERHEAD
        self._data = data
        self.pieces = [data[n : n + piece] for n in range(0, len(data), piece)] or [b""]
        self.sent = 0
        """Pieces sent, repeated ones included."""
        self.asked_again = 0
        self._answers: asyncio.Queue[bytes] = asyncio.Queue()

    def take(self, packets: list[Packet]) -> None:
        """Answers have arrived."""
        for packet in packets:
            message = unseal(packet.payload)
            if message:
                self._answers.put_nowait(message)

    async def run(self, patience: float = 30.0) -> None:
        """Send the file until the other end has it.

        Raises:
            TransferFailed: no answer for `patience` seconds, or the checksum is wrong.
        """
        digest = hashlib.sha256(self._data).digest()
        wanted = list(range(len(self.pieces)))
        turn = 0
        while wanted:
            for number in wanted:
                piece = self.pieces[number]
                message = _DATA.pack(b"D", self.sent, number) + piece
                self.sent += 1
                await self._master.send(seal(message))
            await self._master.drain()
            turn += 1
            wanted = await self._ask(turn, _END.pack(b"E", turn, len(self.pieces), len(self._data), digest), patience)
            self.asked_again += len(wanted)

    async def _ask(self, turn: int, end: bytes, patience: float) -> list[int]:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + patience
        wait = 0.5
        while loop.time() < deadline:
            await self._master.send(seal(end), priority=self._priority)
            try:
                async with asyncio.timeout(wait):
                    while True:
                        answer = await self._answers.get()
                        if answer[:1] == b"F" and len(answer) == _FINISH.size:
                            if _FINISH.unpack(answer)[2]:
                                return []
                            raise TransferFailed("the file arrived with another checksum")
                        if answer[:1] == b"A" and len(answer) > _ASK.size and _ASK.unpack_from(answer)[1] == turn:
                            count = (len(answer) - _ASK.size) // 4
                            numbers = struct.unpack_from(f"!{count}I", answer, _ASK.size)
                            return [n for n in numbers if n < len(self.pieces)]
            except TimeoutError:
                wait = min(5.0, wait * 2)
        raise TransferFailed(f"no answer from the other end for {patience:g} s")
