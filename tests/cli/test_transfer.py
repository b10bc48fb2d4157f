"""The demo's file transfer over channels that lose, damage, duplicate and reorder."""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import Callable
from typing import Any

import async_solipsism
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eqlbond import BondClosed, Packet, QueueFull
from eqlbond.cli.transfer import LEAST_MTU, OVERHEAD, FileReceiver, FileSender, TransferFailed, seal, unseal
from tests.examples import examples

DATA = random.Random(1).randbytes(20000)
Channel = Callable[[bytes], list[bytes]]


class FakeMaster:
    """What a sender needs of a bond: here a channel to a receiver, which does with each packet what it likes."""

    def __init__(self, mtu: int, forth: Channel, back: Channel) -> None:
        self.mtu = mtu
        self.forth, self.back = forth, back
        self.receiver = FileReceiver(self._answer, mtu)
        self.sender: FileSender | None = None
        self.longest = 0

    async def send(self, payload: bytes, *, priority: int = 0) -> None:
        self.longest = max(self.longest, len(payload))
        await asyncio.sleep(0.001)
        self.receiver.take([Packet(packet) for packet in self.forth(payload)])

    async def drain(self) -> None:
        await asyncio.sleep(0)

    def _answer(self, payload: bytes) -> None:
        self.longest = max(self.longest, len(payload))
        assert self.sender is not None
        self.sender.take([Packet(packet) for packet in self.back(payload)])


def clean(packet: bytes) -> list[bytes]:
    return [packet]


def transfer(
    data: bytes, mtu: int, forth: Channel = clean, back: Channel = clean, patience: float = 30.0
) -> FakeMaster:
    master = FakeMaster(mtu, forth, back)
    sender = master.sender = FileSender(master, data)  # type: ignore[arg-type]
    with asyncio.Runner(loop_factory=async_solipsism.EventLoop) as runner:
        runner.run(sender.run(patience))
    assert master.receiver.data == data
    assert master.receiver.checksum_right
    assert master.longest <= mtu
    return master


class Bad:
    """A channel with faults, each as likely as said."""

    def __init__(self, seed: int, *, lose: float = 0, damage: float = 0, twice: float = 0, late: float = 0) -> None:
        self.rng = random.Random(seed)
        self.lose, self.damage, self.twice, self.late = lose, damage, twice, late
        self.held: list[bytes] = []
        self.damaged = 0

    def __call__(self, packet: bytes) -> list[bytes]:
        out = [packet]
        if self.rng.random() < self.lose:
            out = []
        if out and self.rng.random() < self.damage:
            broken = bytearray(packet)
            broken[self.rng.randrange(len(broken))] ^= 1 << self.rng.randrange(8)
            if self.rng.random() < 0.2:
                del broken[self.rng.randrange(len(broken)) :]
            out = [bytes(broken)]
            self.damaged += 1
        if out and self.rng.random() < self.twice:
            out *= 2
        if out and self.rng.random() < self.late:
            self.held += out
            return []
        if self.rng.random() < 0.3:
            out += self.held
            self.held = []
        return out


@pytest.mark.parametrize("mtu", [LEAST_MTU, 100, 576, 1500, 9000])
@pytest.mark.parametrize("size", [0, 1, 2, 575, 576, 20000])
def test_a_clean_channel(mtu: int, size: int) -> None:
    master = transfer(DATA[:size], mtu)
    piece = mtu - OVERHEAD
    assert master.sender is not None
    assert len(master.sender.pieces) == master.sender.sent == max(1, -(-size // piece))
    counts = master.receiver
    assert (counts.reordered, counts.damaged, counts.duplicates, master.sender.asked_again) == (0, 0, 0, 0)


def test_loss_is_asked_for_and_counted() -> None:
    lost: list[bytes] = []

    def lose(packet: bytes) -> list[bytes]:
        if packet[:1] == b"D" and len(lost) < 7 and len(packet) > 100 and packet[8] % 3 == 0:
            lost.append(packet)
            return []
        return [packet]

    master = transfer(DATA, 500, lose)
    assert master.sender is not None
    assert len(lost) == 7
    assert master.sender.asked_again == 7
    assert master.sender.sent == len(master.sender.pieces) + 7
    assert master.receiver.reordered == 0  # a piece that is sent again is no later than it should be


def test_duplicates_and_reordering_are_counted() -> None:
    held: list[bytes] = []

    def shuffle(packet: bytes) -> list[bytes]:
        if packet[:1] != b"D":
            return [packet]
        held.append(packet)
        if len(held) < 2:
            return []
        out = [held[1], held[0], held[0]]
        held.clear()
        return out

    master = transfer(DATA[:8000], 1000 + OVERHEAD, shuffle)
    assert (master.receiver.reordered, master.receiver.duplicates) == (8, 4)  # a late piece's copy is late, too


@pytest.mark.parametrize("kind", [b"D", b"E", b"A", b"F"])
@pytest.mark.parametrize("place", ["first", "last", "all"])
def test_one_damaged_message_of_each_kind(kind: bytes, place: str) -> None:
    """Every byte of it in turn: no damage is taken for something that was said."""
    # One lost piece makes the receiver ask.
    size = 120
    piece = 60
    longest = {"D": piece + OVERHEAD, "E": LEAST_MTU, "A": 13, "F": 10}[kind.decode()]
    for position in range(longest) if place == "all" else [0] if place == "first" else [longest - 1]:
        lost: list[bytes] = []
        hit: list[bytes] = []

        def forth(packet: bytes, lost: list[bytes] = lost, hit: list[bytes] = hit, at: int = position) -> list[bytes]:
            if packet[:1] == b"D" and not lost:
                lost.append(packet)
                return []
            if packet[:1] == kind and not hit and len(packet) > at:
                hit.append(packet)
                return [packet[:at] + bytes([packet[at] ^ 0x55]) + packet[at + 1 :]]
            return [packet]

        master = transfer(DATA[:size], piece + OVERHEAD, forth, forth)
        assert hit
        if kind in b"DE":
            assert master.receiver.damaged == 1


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    "faults",
    [
        {"lose": 0.3},
        {"damage": 0.3},
        {"twice": 0.5},
        {"late": 0.3},
        {"lose": 0.2, "damage": 0.1, "twice": 0.2, "late": 0.2},
    ],
)
def test_bad_channels(faults: dict[str, float], seed: int) -> None:
    transfer(DATA[:6000], 200, Bad(seed, **faults), Bad(seed + 100, **faults))


@settings(max_examples=examples(20))
@given(st.integers(0, 1 << 30), st.integers(LEAST_MTU, 300), st.binary(max_size=500), st.floats(0, 0.3))
def test_any_mixture(seed: int, mtu: int, data: bytes, much: float) -> None:
    faults = {"lose": much, "damage": much, "twice": much, "late": much}
    transfer(data, mtu, Bad(seed, **faults), Bad(seed + 1, **faults), patience=1e6)


def test_nobody_answers() -> None:
    with pytest.raises(TransferFailed, match="no answer from the other end for 30 s"):
        transfer(DATA, 1500, back=lambda _: [])


def test_a_wrong_checksum() -> None:
    def forge(packet: bytes) -> list[bytes]:
        message = unseal(packet)
        assert message is not None
        if message[:1] == b"D":
            message = message[:-1] + bytes([message[-1] ^ 1])
        return [seal(message)]

    with pytest.raises(TransferFailed, match="another checksum"):
        transfer(DATA, 1500, forge)


def test_an_mtu_that_is_too_small() -> None:
    with pytest.raises(TransferFailed, match=f"the transfer needs {LEAST_MTU}"):
        FileSender(None, DATA, mtu=LEAST_MTU - 1)  # type: ignore[arg-type]


@given(st.lists(st.binary(max_size=80)))
def test_noise_is_counted_and_nothing_else(noise: list[bytes]) -> None:
    receiver = FileReceiver(lambda _: pytest.fail("answered noise"), 100)
    sender = FileSender(None, b"", mtu=100)  # type: ignore[arg-type]
    receiver.take([Packet(packet) for packet in noise])
    sender.take([Packet(packet) for packet in noise])
    assert receiver.damaged == len(noise)
    assert receiver.received == 0
    assert sender._answers.empty()


@given(st.lists(st.sampled_from([b"D", b"E", b"A", b"F", b"X", b""])), st.binary(max_size=60))
def test_short_messages_with_a_good_crc(kinds: list[bytes], rest: bytes) -> None:
    answers: list[Any] = []
    receiver = FileReceiver(answers.append, 100)
    receiver.take([Packet(seal(kind + rest[:7])) for kind in kinds])
    assert (receiver.received, answers) == (0, [])
    assert receiver.damaged == len(kinds)


@pytest.mark.parametrize("error", [QueueFull("full"), BondClosed("closed")])
def test_an_answer_that_cannot_be_sent_is_not_the_receivers_trouble(error: Exception) -> None:
    def answer(_: bytes) -> None:
        raise error

    master = FakeMaster(100, clean, clean)
    receiver = FileReceiver(answer, 100)
    sender = FileSender(master, b"data")  # type: ignore[arg-type]
    sealed: list[bytes] = []
    master.forth = lambda packet: sealed.append(packet) or []  # type: ignore[func-returns-value]
    with asyncio.Runner(loop_factory=async_solipsism.EventLoop) as runner, pytest.raises(TransferFailed):
        runner.run(sender.run(patience=0.4))
    receiver.take([Packet(packet) for packet in sealed])
    assert receiver.data == b"data"
    assert hashlib.sha256(receiver.data).digest() in sealed[1]
