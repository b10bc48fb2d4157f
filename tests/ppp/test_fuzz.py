"""Whatever arrives, nothing raises, nothing grows, and every state has a way on."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from eqlbond.codec.control import ControlPacket
from eqlbond.codec.options import EndpointDiscriminator, Option, encode_options
from eqlbond.packet import Packet
from eqlbond.ppp.chap import Chap
from eqlbond.ppp.config import IpOptions, Ipv6Options, Ppp
from eqlbond.ppp.pap import Pap
from eqlbond.ppp.phases import Phase
from tests.examples import examples
from tests.ppp.harness import Endpoint, Pair, PlainFramer

CONFIGS: dict[str, dict[str, Any]] = {
    "plain": {},
    "bare": {"accm": 0xFFFFFFFF, "magic": False, "pfc": False, "acfc": False, "fcs32": False, "ip": None},
    "demanding": {"require": ("chap", "pap"), "secrets": {"a": "s"}, "rechallenge": 5.0},
    "proving": {"auth": Chap("a", "s")},
    "proving-pap": {"auth": Pap("a", "s")},
    "bundle": {
        "mrru": 1600,
        "short_sequence": True,
        "endpoint": EndpointDiscriminator.local("x"),
        "ipv6": Ipv6Options(),
        "ip": IpOptions(local="0.0.0.0", peer="10.0.0.2", dns="1.1.1.1", ask_dns=True),
    },
    "answerer": {"role": "answerer", "identification": "me"},
}
# What opens a "plain"-like peer: the other side of each pair.
PARTNERS: dict[str, dict[str, Any]] = {
    "demanding": {"auth": Chap("a", "s")},
    "proving": {"require": "chap", "secrets": {"a": "s"}},
    "proving-pap": {"require": "pap", "secrets": {"a": "s"}},
    "bundle": {"mrru": 1600, "ipv6": Ipv6Options(), "ip": IpOptions(local="0.0.0.0", peer="10.0.0.1")},
}
PROTOCOLS = [0xC021, 0xC021, 0xC021, 0x8021, 0x8057, 0xC023, 0xC223, 0x21, 0x57, 0x3D, 0x80FD, 0x4001, 0x0003]


def size_of(end: Endpoint) -> int:
    """Everything that a link keeps and that could grow."""
    link, network = end.link, end.network
    lcp = link.lcp
    kept: list[Any] = [
        link.events,
        link.discarded,
        link._rejected_at,
        link._refused,
        lcp.identifications,
        lcp.rejected_protocols,
        network.events,
    ]
    for machine in (lcp, network.ipcp, network.ipv6cp):
        if machine is not None:
            kept += [machine.discarded, machine.refused, machine._steps]
    for role in link._authentications:
        kept += [getattr(role, name) for name in ("_open", "_answered", "challenges", "_ids") if hasattr(role, name)]
    return sum(len(things) for things in kept)


def opened(name: str, seed: int = 1) -> tuple[Endpoint, float]:
    """An endpoint that has got as far as its partner lets it."""
    a, b = Endpoint(Ppp(**CONFIGS[name]), seed), Endpoint(Ppp(**PARTNERS.get(name, CONFIGS[name])), seed + 1)
    pair = Pair(a, b).start()
    pair.run(4.0)
    return a, pair.now


def random_packet(source: random.Random) -> ControlPacket | bytes:
    """Mostly well-formed control packets, with anything in them."""
    kind = source.random()
    if kind < 0.1:
        return source.randbytes(source.randrange(30))
    code = source.choice([1, 1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, source.randrange(256)])
    if kind < 0.6:
        listed = [
            Option(source.choice([0, 1, 2, 3, 4, 5, 7, 8, 9, 17, 18, 19, 129, 131, source.randrange(256)]),
                   source.choice([b"", b"\4", b"\5\xdc", b"\xc0\x23", b"\xc2\x23\5", bytes(4), bytes(8),
                                  source.randbytes(source.randrange(12))]))
            for _ in range(source.randrange(5))
        ]  # fmt: skip
        data = encode_options(listed)
    else:
        data = source.randbytes(source.choice([0, 1, 2, 4, 8, 17, 40, 400]))
    packet = ControlPacket(code, source.randrange(256), data)
    if kind > 0.9:
        raw = bytearray(packet.encode())
        raw[source.randrange(len(raw))] = source.randrange(256)
        return bytes(raw)
    return packet


@pytest.mark.parametrize("name", CONFIGS)
def test_good_frames_with_anything_in_them(name: str) -> None:
    for seed in range(12):
        source = random.Random(f"{name} {seed}")
        end, now = opened(name, seed) if seed % 2 else (Endpoint(Ppp(**CONFIGS[name]), seed), 0.0)
        if not seed % 2:
            end.start(now)
        framer = PlainFramer()
        fcs = 32 if seed % 4 == 3 and name != "bare" else 16
        framer.set_transmit(accm=0xFFFFFFFF, pfc=False, acfc=False, fcs=fcs)
        for _ in range(250):
            packet = random_packet(source)
            payload = packet.encode() if isinstance(packet, ControlPacket) else packet
            end.receive(framer.encode(Packet(payload, source.choice(PROTOCOLS))), now)
            now += source.choice([0.0, 0.0, 0.1, 1.0])
            deadline = end.next_deadline
            if deadline is not None and deadline <= now:
                end.tick(now)
            end.take_output()
            if end.config.require and end.link.phase is Phase.NETWORK:
                assert end.link._authenticator is not None
                assert end.link._authenticator.done
        assert size_of(end) < 700
        assert end.link.phase is Phase.DEAD or end.next_deadline is not None or end.config.role == "answerer"


@pytest.mark.parametrize("name", CONFIGS)
def test_left_alone_it_comes_to_rest(name: str) -> None:
    """After any mistreatment, silence leads to the end (or an answerer's rest) in bounded time."""
    for seed in range(6):
        source = random.Random(f"{name} {seed}")
        end = Endpoint(Ppp(**CONFIGS[name]), seed)
        end.start(0.0)
        framer = PlainFramer()
        for _ in range(source.randrange(60)):
            packet = random_packet(source)
            payload = packet.encode() if isinstance(packet, ControlPacket) else packet
            end.receive(framer.encode(Packet(payload, source.choice(PROTOCOLS))), 0.0)
        ticks = 0
        while (deadline := end.next_deadline) is not None:
            end.tick(deadline)
            ticks += 1
            assert ticks < 300
            assert deadline < 600
        assert end.link.dead or end.config.role == "answerer"
        if end.link.dead:
            assert end.link.failure or end.link.lcp.failure is None


@settings(max_examples=examples(25), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(sorted(CONFIGS)), st.lists(st.binary(max_size=300), max_size=8))
def test_raw_bytes(name: str, chunks: list[bytes]) -> None:
    end = Endpoint(Ppp(**CONFIGS[name]))
    end.start(0.0)
    for chunk in chunks:
        end.receive(chunk, 0.1)
        end.receive(b"~", 0.1)
    end.tick(0.2)


def test_megabytes_of_noise() -> None:
    end, now = opened("plain")
    source = random.Random(3)
    for _ in range(64):
        end.receive(source.randbytes(16384), now)
    assert end.up
    assert size_of(end) < 100
    assert sum(end.link.dropped.values()) > 1000


@pytest.mark.parametrize("protocol", [0xC021, 0x8021])
def test_every_short_packet(protocol: int) -> None:
    """All codes with all lengths from 0 to 8, open and not."""
    for is_open in (False, True):
        for code in range(20):
            end, now = opened("plain") if is_open else (Endpoint(Ppp()), 0.0)
            if not is_open:
                end.start(0.0)
            for length in range(9):
                for claimed in (0, 3, 4, length, length + 1, 65535):
                    raw = bytes((code, 1)) + claimed.to_bytes(2, "big") + bytes(range(1, 5))
                    for packet in end.link.receive(PlainFramer().encode(Packet(raw[:length], protocol)), now):
                        end.network.receive(packet, now)
                    end.settle(now)
