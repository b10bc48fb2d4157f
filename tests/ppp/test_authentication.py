"""PAP and CHAP, each role against bytes, and both through whole links."""

from __future__ import annotations

import hashlib
import random
from typing import Any

import pytest

from eqlbond.codec.control import ControlPacket, parse_control
from eqlbond.exceptions import ConfigurationError
from eqlbond.packet import Packet
from eqlbond.ppp.chap import Chap, ChapAuthenticator, ChapPeer
from eqlbond.ppp.config import Ppp
from eqlbond.ppp.negotiation import Timing
from eqlbond.ppp.pap import Pap, PapAuthenticator, PapPeer
from eqlbond.ppp.phases import LinkPeerAuthenticated, NcpUp, Phase
from tests.ppp.harness import Endpoint, Pair, PlainFramer, joined, packets_of

SECRETS = {"site7": b"open sesame", "other": "text secret", "empty": b""}
TIMING = Timing()


def sent(machine: Any) -> list[ControlPacket]:
    packets = [parse_control(p) for p in machine.take_output()]
    assert None not in packets
    return packets  # type: ignore[return-value]


def request(name: bytes, secret: bytes, identifier: int = 4) -> bytes:
    return ControlPacket(1, identifier, bytes((len(name),)) + name + bytes((len(secret),)) + secret).encode()


class TestPapPeer:
    def started(self) -> tuple[PapPeer, ControlPacket]:
        peer = PapPeer(Pap("site7", "open sesame"), random.Random(1), TIMING)
        peer.start(0)
        return peer, sent(peer)[0]

    def test_request(self) -> None:
        _, packet = self.started()
        assert (packet.code, packet.data) == (1, b"\x05site7\x0bopen sesame")

    def test_ack(self) -> None:
        peer, packet = self.started()
        peer.receive(ControlPacket(2, packet.identifier, b"\x02hi").encode(), 1)
        assert (peer.done, peer.failure, peer.next_deadline) == (True, None, None)

    def test_nak_names_the_cause(self) -> None:
        peer, packet = self.started()
        peer.receive(ControlPacket(3, packet.identifier, b"\x04no\x1b!extra").encode(), 1)
        assert not peer.done
        assert peer.failure == "the peer refused our name 'site7' or its secret (PAP): no\\x1b!"

    def test_repeats_with_fresh_identifiers_then_gives_up(self) -> None:
        peer, packet = self.started()
        ids = [packet.identifier]
        while peer.next_deadline is not None:
            peer.tick(peer.next_deadline)
            ids += [p.identifier for p in sent(peer)]
        assert len(set(ids)) == len(ids) == 10
        assert peer.failure == "the peer did not answer 10 PAP requests"

    @pytest.mark.parametrize("packet", [b"", b"\x02\x00\x00\x03", ControlPacket(9, 1).encode()])
    def test_nonsense_is_ignored(self, packet: bytes) -> None:
        peer, _ = self.started()
        peer.receive(packet, 1)
        assert (peer.done, peer.failure) == (False, None)

    def test_stale_answer_is_ignored(self) -> None:
        peer, packet = self.started()
        peer.receive(ControlPacket(2, packet.identifier + 100 & 255).encode(), 1)
        assert not peer.done


class TestPapAuthenticator:
    def started(self, secrets: Any = SECRETS) -> PapAuthenticator:
        authenticator = PapAuthenticator(secrets, TIMING)
        authenticator.start(0)
        return authenticator

    @pytest.mark.parametrize(("name", "secret"), [(b"site7", b"open sesame"), (b"other", b"text secret")])
    def test_right(self, name: bytes, secret: bytes) -> None:
        authenticator = self.started()
        authenticator.receive(request(name, secret), 1)
        assert [(p.code, p.identifier) for p in sent(authenticator)] == [(2, 4)]
        assert (authenticator.done, authenticator.peer_name) == (True, name.decode())

    @pytest.mark.parametrize(
        ("name", "secret"),
        [
            (b"site7", b"open sesamE"),
            (b"site7", b""),
            (b"nobody", b""),
            (b"nobody", b"open sesame"),
            (b"", b""),
            (b"empty", b""),
            (b"\xff\xfe", b"x"),
        ],
    )
    def test_wrong(self, name: bytes, secret: bytes) -> None:
        authenticator = self.started()
        authenticator.receive(request(name, secret), 1)
        assert [p.code for p in sent(authenticator)] == [3]
        assert not authenticator.done
        assert authenticator.failure is not None
        assert "wrong name or secret" in authenticator.failure
        assert "sesam" not in authenticator.failure

    def test_no_second_guess_and_the_same_reply_again(self) -> None:
        authenticator = self.started()
        authenticator.receive(request(b"site7", b"guess"), 1)
        authenticator.receive(request(b"site7", b"open sesame"), 1)
        assert [p.code for p in sent(authenticator)] == [3, 3]
        assert not authenticator.done
        authenticator = self.started()
        authenticator.receive(request(b"site7", b"open sesame"), 1)
        authenticator.receive(request(b"site7", b"open sesame", 5), 1)
        assert [(p.code, p.identifier) for p in sent(authenticator)] == [(2, 4), (2, 5)]

    @pytest.mark.parametrize(
        "data", [b"", b"\x05sit", b"\x05site7", b"\x05site7\x0bopen", b"\xff", b"\x00", b"\x05site7\xff" + b"x" * 10]
    )
    def test_lengths_that_lie(self, data: bytes) -> None:
        authenticator = self.started()
        authenticator.receive(ControlPacket(1, 4, data).encode(), 1)
        assert sent(authenticator) == []
        assert (authenticator.done, authenticator.failure) == (False, None)

    def test_nobody_asks(self) -> None:
        authenticator = self.started()
        assert authenticator.next_deadline == 30.0
        authenticator.tick(30.0)
        assert authenticator.failure == "the peer did not authenticate itself by PAP in time"

    def test_secrets_by_function(self) -> None:
        authenticator = self.started(lambda name: {"a": "b"}.get(name))
        authenticator.receive(request(b"a", b"b"), 1)
        assert authenticator.done

    def test_a_function_that_raises_denies(self) -> None:
        def broken(name: str) -> bytes:
            raise KeyError("the secret itself")

        authenticator = self.started(broken)
        authenticator.receive(request(b"a", b"b"), 1)
        assert not authenticator.done
        assert authenticator.failure is not None
        assert authenticator.failure.endswith("; the look-up of the secret raised KeyError")

    def test_a_secret_of_the_wrong_type_denies(self) -> None:
        authenticator = self.started({"a": 5})
        authenticator.receive(request(b"a", b"5"), 1)
        assert not authenticator.done


def challenge(identifier: int, value: bytes, name: bytes = b"gw") -> bytes:
    return ControlPacket(1, identifier, bytes((len(value),)) + value + name).encode()


def digest(identifier: int, secret: bytes, value: bytes) -> bytes:
    return hashlib.md5(bytes((identifier,)) + secret + value).digest()


class TestChapPeer:
    def started(self) -> ChapPeer:
        peer = ChapPeer(Chap("site7", "open sesame"), TIMING)
        peer.start(0)
        return peer

    def test_response_and_success(self) -> None:
        peer = self.started()
        peer.receive(challenge(9, b"abc"), 1)
        packet = sent(peer)[0]
        assert packet == ControlPacket(2, 9, b"\x10" + digest(9, b"open sesame", b"abc") + b"site7")
        assert peer.authenticator_name == "gw"
        peer.receive(ControlPacket(3, 9).encode(), 2)
        assert (peer.done, peer.next_deadline) == (True, None)

    def test_failure_names_the_cause(self) -> None:
        peer = self.started()
        peer.receive(challenge(9, b"abc"), 1)
        peer.receive(ControlPacket(4, 9, b"go away").encode(), 2)
        assert peer.failure == "the peer refused our name 'site7' or its secret (CHAP): go away"

    def test_success_without_a_response_is_ignored(self) -> None:
        peer = self.started()
        for identifier in range(256):
            peer.receive(ControlPacket(3, identifier).encode(), 1)
        assert not peer.done

    def test_response_is_repeated_until_answered(self) -> None:
        peer = self.started()
        peer.receive(challenge(9, b"abc"), 1)
        while peer.next_deadline is not None:
            peer.tick(peer.next_deadline)
        assert len(set(sent(peer))) == 1
        assert peer.failure == "the peer did not answer 10 CHAP responses"

    def test_no_challenge(self) -> None:
        peer = self.started()
        peer.tick(30.0)
        assert peer.failure == "the peer sent no CHAP challenge"

    def test_own_challenge_come_back_is_not_answered(self) -> None:
        peer = self.started()
        peer.own_challenges = [b"abc"]
        peer.receive(challenge(9, b"abc"), 1)
        assert sent(peer) == []

    @pytest.mark.parametrize("data", [b"", b"\x00gw", b"\x05abc", b"\xff"])
    def test_lengths_that_lie(self, data: bytes) -> None:
        peer = self.started()
        peer.receive(ControlPacket(1, 9, data).encode(), 1)
        assert sent(peer) == []


class TestChapAuthenticator:
    def started(self, secrets: Any = SECRETS, again: float | None = None) -> tuple[ChapAuthenticator, ControlPacket]:
        authenticator = ChapAuthenticator("gw", secrets, random.Random(1), TIMING, again)
        authenticator.start(0)
        return authenticator, sent(authenticator)[0]

    def respond(self, asked: ControlPacket, name: bytes = b"site7", secret: bytes = b"open sesame") -> bytes:
        value = asked.data[1:17]
        answer = digest(asked.identifier, secret, value)
        return ControlPacket(2, asked.identifier, b"\x10" + answer + name).encode()

    def test_challenge(self) -> None:
        _, asked = self.started()
        assert (asked.code, asked.data[0], asked.data[17:]) == (1, 16, b"gw")

    def test_right(self) -> None:
        authenticator, asked = self.started()
        authenticator.receive(self.respond(asked), 1)
        assert [(p.code, p.identifier) for p in sent(authenticator)] == [(3, asked.identifier)]
        assert (authenticator.done, authenticator.peer_name, authenticator.next_deadline) == (True, "site7", None)

    @pytest.mark.parametrize(
        ("name", "secret"),
        [
            (b"site7", b"wrong"),
            (b"nobody", b"open sesame"),
            (b"nobody", b""),
            (b"nobody", b"\0"),
            (b"", b""),
            (b"empty", b""),
            (b"empty", b"\0"),
        ],
    )
    def test_wrong(self, name: bytes, secret: bytes) -> None:
        authenticator, asked = self.started()
        authenticator.receive(self.respond(asked, name, secret), 1)
        assert [p.code for p in sent(authenticator)] == [4]
        assert not authenticator.done
        authenticator.receive(self.respond(asked), 1)
        assert [p.code for p in sent(authenticator)] == [4], "the same identifier gets the same reply"
        assert not authenticator.done

    def test_another_value_of_the_right_length_is_wrong(self) -> None:
        authenticator, asked = self.started()
        authenticator.receive(ControlPacket(2, asked.identifier, b"\x10" + bytes(16) + b"site7").encode(), 1)
        assert authenticator.failure is not None

    def test_repeats_with_fresh_challenges_then_gives_up(self) -> None:
        authenticator, asked = self.started()
        challenges = [asked]
        while authenticator.next_deadline is not None:
            authenticator.tick(authenticator.next_deadline)
            challenges += sent(authenticator)
        assert len({c.identifier for c in challenges}) == len({c.data for c in challenges}) == 10
        assert authenticator.failure == "the peer did not answer 10 CHAP challenges"

    def test_a_late_response_to_an_earlier_challenge_counts(self) -> None:
        authenticator, asked = self.started()
        authenticator.tick(3.0)
        second = sent(authenticator)[0]
        authenticator.receive(self.respond(asked), 5)
        authenticator.receive(self.respond(second), 6)
        assert [(p.code, p.identifier) for p in sent(authenticator)] == [(3, asked.identifier), (3, second.identifier)]

    def test_challenged_again_on_an_open_link(self) -> None:
        authenticator, asked = self.started(again=60.0)
        authenticator.receive(self.respond(asked), 1)
        assert authenticator.next_deadline == 61.0
        authenticator.tick(61.0)
        again = sent(authenticator)[-1]
        assert authenticator.done, "the session goes on meanwhile"
        authenticator.receive(self.respond(asked), 62)
        assert sent(authenticator) == [], "an old response is worth nothing now"
        authenticator.receive(self.respond(again, b"other", b"text secret"), 62)
        assert not authenticator.done
        assert authenticator.failure is not None
        assert "it was 'site7' before" in authenticator.failure

    def test_what_an_earlier_round_left_open_is_void(self) -> None:
        authenticator, asked = self.started(again=60.0)
        authenticator.tick(3.0)
        left_open = sent(authenticator)[0]
        authenticator.receive(self.respond(asked), 5)
        authenticator.tick(65.0)
        sent(authenticator)
        authenticator.receive(self.respond(left_open), 66)
        assert sent(authenticator) == []

    def test_response_of_an_unknown_identifier_is_ignored(self) -> None:
        authenticator, asked = self.started()
        authenticator.receive(ControlPacket(2, asked.identifier + 1 & 255, b"\x10" + bytes(16)).encode(), 1)
        assert (sent(authenticator), authenticator.failure) == ([], None)

    def test_memory_is_bounded(self) -> None:
        authenticator, asked = self.started(again=1.0)
        now = 0.0
        for _ in range(1000):
            authenticator.receive(self.respond(asked), now)
            assert authenticator.next_deadline is not None
            now = authenticator.next_deadline
            authenticator.tick(now)
            asked = sent(authenticator)[-1]
        assert authenticator.done
        assert max(len(authenticator.challenges), len(authenticator._open), len(authenticator._answered)) <= 10


class TestSecretsStaySecret:
    def test_no_repr_shows_one(self) -> None:
        config = Ppp(auth=Chap("me", "hush-mine"), require="pap", secrets={"you": b"hush-yours"})
        shown = repr([config, Pap("me", "hush-pap"), config.auth, config.secrets is None])
        assert "hush" not in shown
        assert "me" in shown

    def test_text_and_bytes_are_one(self) -> None:
        assert Pap("a", "ä") == Pap("a", "ä".encode())

    @pytest.mark.parametrize("kind", [Pap, Chap])
    @pytest.mark.parametrize(
        ("name", "secret", "field"), [("", "x", "name"), ("a", "", "secret"), ("a", "x" * 256, "secret")]
    )
    def test_sizes(self, kind: Any, name: str, secret: str, field: str) -> None:
        with pytest.raises(ConfigurationError) as caught:
            kind(name, secret)
        assert caught.value.field == field
        assert "xx" not in str(caught.value)

    def test_wrong_type_is_not_shown(self) -> None:
        with pytest.raises(ConfigurationError) as caught:
            Chap("a", 12345)
        assert "12345" not in str(caught.value)


@pytest.mark.parametrize(("method", "kind"), [("pap", Pap), ("chap", Chap)])
class TestThroughLinks:
    def test_right_secret(self, method: str, kind: Any) -> None:
        pair = joined(Ppp(auth=kind("site7", "s")), Ppp(require=method, secrets={"site7": "s"}))
        pair.run(10)
        a, b = pair.ends
        assert a.up
        assert b.up
        assert b.link.peer_identity.name == "site7"
        assert a.link.peer_identity.name is None
        assert [e.name for e in b.events if isinstance(e, LinkPeerAuthenticated)] == ["site7"]
        assert a.phases == [Phase.ESTABLISH, Phase.AUTHENTICATE, Phase.NETWORK]

    def test_wrong_secret_ends_both_with_a_reason(self, method: str, kind: Any) -> None:
        pair = joined(Ppp(auth=kind("site7", "wrong")), Ppp(require=method, secrets={"site7": "s"}))
        pair.run(30)
        a, b = pair.ends
        assert a.link.dead
        assert b.link.dead
        assert a.link.failure is not None
        assert a.link.failure.startswith("the peer refused our name 'site7' or its secret")
        assert b.link.failure is not None
        assert b.link.failure.startswith("the peer calls itself 'site7' and gave a wrong name or secret")
        assert not any(isinstance(e, NcpUp) for e in [*a.events, *b.events])
        assert Phase.NETWORK not in a.phases + b.phases
        assert pair.now < 31

    def test_both_prove_themselves(self, method: str, kind: Any) -> None:
        pair = joined(
            Ppp(auth=kind("a", "sa"), require=method, secrets={"b": "sb"}, name="a"),
            Ppp(auth=kind("b", "sb"), require=method, secrets={"a": "sa"}, name="b"),
        )
        pair.run(10)
        assert [end.link.peer_identity.name for end in pair.ends] == ["b", "a"]
        assert all(end.up for end in pair.ends)

    def test_one_of_two_is_wrong(self, method: str, kind: Any) -> None:
        pair = joined(
            Ppp(auth=kind("a", "sa"), require=method, secrets={"b": "sb"}),
            Ppp(auth=kind("b", "guess"), require=method, secrets={"a": "sa"}),
        )
        pair.run(30)
        assert all(end.link.dead for end in pair.ends)
        assert Phase.NETWORK not in pair.ends[0].phases

    def test_a_peer_without_credentials(self, method: str, kind: Any) -> None:
        pair = joined(Ppp(), Ppp(require=method, secrets={"a": "b"}))
        pair.run(40)
        a, b = pair.ends
        assert b.link.failure == "the peer refuses to authenticate itself"
        assert Phase.AUTHENTICATE not in a.phases + b.phases
        assert a.link.failure is not None
        assert "the peer closed the link: the peer refuses to authenticate itself" in a.link.failure
        assert "Authentication-Protocol (no name and secret are configured" in a.link.failure

    def test_the_verdict_is_lost(self, method: str, kind: Any) -> None:
        """The reply to the proof is lost once; the proof is repeated and gets the same reply."""
        lost: list[bytes] = []

        def lossy(frame: bytes, now: float) -> list[tuple[float, bytes]]:
            marker = b"\xc0\x23\x02" if method == "pap" else b"\xc2\x23\x03"
            if marker in frame and not lost:
                lost.append(frame)
                return []
            return [(now + 0.01, frame)]

        a = Endpoint(Ppp(auth=kind("a", "b")), 1)
        b = Endpoint(Ppp(require=method, secrets={"a": "b"}), 2)
        pair = Pair(a, b, ba=lossy).start()
        pair.run(20)
        assert lost
        assert a.up
        assert b.up


def test_our_own_challenge_is_not_answered() -> None:
    """A peer without the secret that sends our challenge back to us as its own gets no proof to send in its turn."""
    config = Ppp(auth=Chap("a", "s"), require="chap", secrets={"a": "s"}, name="a")
    a, b = joined(config, config).ends
    ours: list[bytes] = []
    while not ours:
        a.receive(b"".join(b.take_output()), 1)
        frames = a.take_output()
        sent_packets = packets_of(frames, PlainFramer(accm=0, fcs=32))
        ours = [p.encode() for protocol, p in sent_packets if protocol == 0xC223 and p.code == 1]
        b.receive(b"".join(frames), 1)
    assert a.link.phase is Phase.AUTHENTICATE
    reflected = a.link.encode(Packet(ours[0], 0xC223))
    a.receive(reflected, 2)
    assert a.take_output() == []
    assert a.link.lcp.opened


def test_methods_are_tried_in_order() -> None:
    pair = joined(Ppp(auth=Pap("a", "b")), Ppp(require=("chap", "pap"), secrets={"a": "b"}))
    pair.run(10)
    assert all(end.up for end in pair.ends)


def test_method_that_is_not_allowed() -> None:
    pair = joined(Ppp(auth=Pap("a", "b")), Ppp(require="chap", secrets={"a": "b"}))
    pair.run(30)
    assert pair.ends[1].link.failure == "the peer does not authenticate itself by chap"


def test_rechallenge_on_a_live_link() -> None:
    current = {"a": "b"}
    pair = joined(Ppp(auth=Chap("a", "b")), Ppp(require="chap", secrets=current.get, rechallenge=5.0))
    pair.run(18)
    assert all(end.up for end in pair.ends)
    current["a"] = "changed"
    pair.run(40)
    assert all(end.link.dead for end in pair.ends)
    assert pair.ends[1].link.failure is not None
    assert "wrong name or secret (CHAP)" in pair.ends[1].link.failure
