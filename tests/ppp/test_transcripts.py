"""Random negotiations over lines that lose, double, reorder and corrupt: they converge or end, and none opens unproven.

`EQLBOND_TRANSCRIPTS=10000` runs as many; the default is a small number.
"""

from __future__ import annotations

import os
import random

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eqlbond.codec.options import EndpointDiscriminator
from eqlbond.ppp.automaton import State
from eqlbond.ppp.chap import Chap
from eqlbond.ppp.config import IpOptions, Ipv6Options, Ppp
from eqlbond.ppp.link import PppLink
from eqlbond.ppp.pap import Pap
from eqlbond.ppp.phases import NetworkUp, Phase
from tests.examples import examples
from tests.ppp.harness import BadLine, Endpoint, Pair, PlainFramer

TRANSCRIPTS = int(os.environ.get("EQLBOND_TRANSCRIPTS", "100"))
BATCHES = 4


def proven(link: PppLink) -> bool:
    """Whether the peer has shown what this side demands."""
    who = link._authenticator
    return who is not None and who.done and who.peer_name is not None


def random_config(source: random.Random, *, wrong: bool, side: int) -> dict[str, object]:
    """The options of one side that are its own business."""
    flip = lambda: source.random() < 0.5  # noqa: E731
    options: dict[str, object] = {
        "mru": source.choice([1500, 1500, 576, 900, 2000]),
        "accm": source.choice([0, 0, 0xA0000, 0xFFFFFFFF]),
        "magic": source.random() < 0.9,
        "pfc": flip(),
        "acfc": flip(),
        "fcs32": flip(),
        "role": source.choice(["caller", "answerer"]),
        "echo_interval": source.choice([0, 2.0, 10.0]),
        "identification": source.choice([None, "eqlbond"]),
        "name": f"side{side}",
    }
    if flip():
        options |= {"mrru": source.choice([1500, 1600, 4000]), "short_sequence": flip()}
    if flip():
        options["endpoint"] = EndpointDiscriminator.local(f"side{side}")
    if flip():
        options["ipv6"] = Ipv6Options()
    return options


def make_pair(seed: int) -> tuple[Pair, list[bool], float]:
    """Two endpoints with random options and the line between them; and whether each side's peer can prove itself."""
    source = random.Random(seed)
    can_prove = [True, True]
    sides = [random_config(source, wrong=False, side=n) for n in (0, 1)]
    for demanding in (0, 1):
        proving = 1 - demanding
        if source.random() < 0.4:
            method = source.choice(["pap", "chap", ("chap", "pap")])
            wrong = source.random() < 0.25
            can_prove[demanding] = not wrong
            given_secret = b"guess" if wrong else b"secret"
            kind = Pap if ("pap" in method and source.random() < 0.5) or method == "pap" else Chap
            sides[demanding] |= {"require": method, "secrets": {f"user{proving}": b"secret"}}
            sides[proving]["auth"] = kind(f"user{proving}", given_secret)
            if source.random() < 0.3:
                sides[demanding]["rechallenge"] = 5.0
    if source.random() < 0.5:
        sides[0]["ip"] = IpOptions(local="0.0.0.0", ask_dns=source.random() < 0.5)
        sides[1]["ip"] = IpOptions(local="10.0.0.1", peer="10.0.0.2", dns=["10.0.0.1"])
    ends = [
        # Now and then one side frames by other code.
        Endpoint(Ppp(**side), source.getrandbits(32), PlainFramer() if source.random() < 0.2 else None)  # type: ignore[arg-type]
        for side in sides
    ]
    good_after = source.choice([0.0, 5.0, 20.0, 60.0])
    badness = source.choice([0.1, 0.3, 0.5])
    lines = [BadLine(random.Random(source.getrandbits(32)), good_after, badness) for _ in ends]
    return Pair(ends[0], ends[1], *lines), can_prove, good_after


def at_rest(end: Endpoint) -> bool:
    """An answerer that waits for the peer's first word, for ever and at no cost."""
    return end.config.role == "answerer" and end.link.lcp.state is State.STOPPED and end.next_deadline is None


def run_transcript(seed: int) -> str:
    """One negotiation, from the start to its end; returns how it ended."""
    pair, can_prove, good_after = make_pair(seed)

    def watch() -> bool:
        for end, provable in zip(pair.ends, can_prove, strict=True):
            if end.config.require and end.link.phase is Phase.NETWORK:
                assert provable, f"seed {seed}: opened with a wrong secret"
                assert proven(end.link), f"seed {seed}: opened without proof"
        a, b = pair.ends
        settled = (a.up and b.up and a.network._open == b.network._open) or (a.link.dead and b.link.dead)
        return settled and pair.now > good_after + 15

    pair.start()
    pair.run(good_after + 400, watch)
    a, b = pair.ends
    for end, provable in zip(pair.ends, can_prove, strict=True):
        assert end.up or end.link.dead or at_rest(end), f"seed {seed}: {end.link.phase} {end.link.lcp.state!r}"
        if end.link.dead:
            assert end.link.failure, f"seed {seed}: ended without a reason"
            assert end.link.next_deadline is None
        if not provable:
            assert not any(isinstance(event, NetworkUp) for event in end.events)
        assert len(end.link.events) < 256
    for end, other in ((a, b), (b, a)):
        if end.up and not other.up:
            # Nothing but Echo-Requests can tell that a peer has left when its Terminate-Requests are lost.
            assert end.config.echo_interval == 0, f"seed {seed}: {a.link.failure} {b.link.failure}"
    if a.up and b.up:
        assert a.network._open == b.network._open, f"seed {seed}"
        a.send(b"from a")
        b.send(b"from b")
        pair.run(pair.now + 1)
        assert [p.payload for p in b.delivered[-1:]] == [b"from a"], f"seed {seed}"
        assert [p.payload for p in a.delivered[-1:]] == [b"from b"], f"seed {seed}"
        for end, other in ((a, b), (b, a)):
            # A request that was overtaken by its successor may be acknowledged last; RFC 1661 knows no reordering.
            # Its options are as acceptable as the successor's, and only the magic number is sure to differ.
            # A line with software flow control escapes XON and XOFF in both directions, whatever is agreed.
            escaped = 0xA0000 if other.config.escapes_xonxoff else 0
            ours = end.link.lcp.ours
            agreed = attrs.evolve(ours, magic=other.link.lcp.peers.magic, accm=ours.accm | escaped)
            assert agreed == other.link.lcp.peers, f"seed {seed}"
        a.link.terminate(pair.now)
        a.settle(pair.now)
        pair.run(pair.now + 30)
        assert a.link.dead, f"seed {seed}"
        assert b.link.dead, f"seed {seed}"
        return "opened"
    return "ended"


@pytest.mark.parametrize("batch", range(BATCHES))
def test_random_transcripts(batch: int) -> None:
    share = TRANSCRIPTS // BATCHES
    outcomes = [run_transcript(seed) for seed in range(batch * share, (batch + 1) * share)]
    assert outcomes.count("opened") > share / 3
    assert outcomes.count("ended") > 0


@settings(max_examples=examples(20), deadline=None)
@given(st.integers(0, 2**64))
def test_any_transcript(seed: int) -> None:
    run_transcript(seed)


@pytest.mark.parametrize("round_trip", [0.5, 3.5, 5.0, 10.0])
@pytest.mark.parametrize(("method", "kind"), [("pap", Pap), ("chap", Chap)])
def test_round_trips_beyond_the_restart_timer(round_trip: float, method: str, kind: type) -> None:
    """Requests that are repeated before their answer can be there must not keep a link from opening, nor a proof."""

    def late(frame: bytes, now: float) -> list[tuple[float, bytes]]:
        return [(now + round_trip / 2, frame)]

    a = Endpoint(Ppp(auth=kind("u", "s")), 1)
    b = Endpoint(Ppp(require=method, secrets={"u": "s"}), 2)
    pair = Pair(a, b, late, late).start()
    pair.run(110)
    assert a.up
    assert b.up
    ups = len(a.phases)
    pair.run(400)
    assert a.up
    assert b.up
    assert len(a.phases) == ups, "it is stable"
