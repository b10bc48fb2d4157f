"""IPCP and IPV6CP, option by option and between two ends; and the `Network` that holds them."""

from __future__ import annotations

import random
from ipaddress import IPv4Address, IPv6Address
from typing import Any

import pytest

from eqlbond.codec import control, options
from eqlbond.codec.control import ControlPacket, parse_control
from eqlbond.codec.options import Option, encode_options, parse_options
from eqlbond.packet import Packet
from eqlbond.ppp.automaton import State
from eqlbond.ppp.config import IpOptions, Ipv6Options, Ppp
from eqlbond.ppp.ipcp import Ipcp
from eqlbond.ppp.ipv6cp import Ipv6cp
from eqlbond.ppp.negotiation import ControlProtocol, Timing
from eqlbond.ppp.network import Addresses, Network
from eqlbond.ppp.phases import LinkOptionRefused, NcpDown, NcpUp, Phase
from tests.ppp.harness import Endpoint, Pair, joined

ACK, NAK, REJECT = control.CONFIGURE_ACK, control.CONFIGURE_NAK, control.CONFIGURE_REJECT
IP = IPv4Address


def address(text: str) -> Option:
    return options.IP_ADDRESS.make(IP(text))


def dns1(text: str) -> Option:
    return options.PRIMARY_DNS.make(IP(text))


def dns2(text: str) -> Option:
    return options.SECONDARY_DNS.make(IP(text))


def identifier(number: int) -> Option:
    return options.INTERFACE_IDENTIFIER.make(number)


class Talk:
    """One NCP that has sent its first request."""

    def __init__(self, ncp: ControlProtocol) -> None:
        self.ncp = ncp
        ncp.open(0)
        ncp.up(0)
        self.request = self.sent()[-1]

    def sent(self) -> list[ControlPacket]:
        packets = [parse_control(step) for step in self.ncp.take_steps() if isinstance(step, bytes)]
        return [p for p in packets if p is not None]

    def options(self) -> tuple[Option, ...]:
        listed = parse_options(self.request.data)
        assert listed is not None
        return listed

    def ask(self, *wishes: Option) -> tuple[int, tuple[Option, ...]]:
        self.ncp.receive(ControlPacket(1, 7, encode_options(wishes)).encode(), 1)
        answer = self.sent()[-1]
        listed = parse_options(answer.data)
        assert listed is not None
        return answer.code, listed

    def answer(self, code: int, *listed: Option) -> tuple[Option, ...]:
        self.ncp.receive(ControlPacket(code, self.request.identifier, encode_options(listed)).encode(), 1)
        for packet in self.sent():
            if packet.code == control.CONFIGURE_REQUEST:
                self.request = packet
        return self.options()


def ipcp(**config: Any) -> tuple[Ipcp, Talk]:
    ncp = Ipcp(IpOptions(**config), random.Random(1), Timing())
    return ncp, Talk(ncp)


VJ = Option(2, bytes.fromhex("002d0f00"))


@pytest.mark.parametrize(
    ("config", "request_"),
    [
        ({}, []),
        ({"local": "10.0.0.1"}, [address("10.0.0.1")]),
        ({"local": "0.0.0.0", "ask_dns": True}, [address("0.0.0.0"), dns1("0.0.0.0"), dns2("0.0.0.0")]),
        ({"peer": "10.0.0.2"}, []),
    ],
)
def test_ipcp_wishes(config: dict[str, Any], request_: list[Option]) -> None:
    _, talk = ipcp(**config)
    assert list(talk.options()) == request_


@pytest.mark.parametrize(
    ("config", "wishes", "code", "reply"),
    [
        ({}, [], ACK, []),
        ({}, [address("10.0.0.9")], ACK, [address("10.0.0.9")]),
        ({}, [address("0.0.0.0")], REJECT, [address("0.0.0.0")]),
        ({"local": "10.0.0.1"}, [address("10.0.0.1")], REJECT, [address("10.0.0.1")]),
        ({"peer": "10.0.2.2"}, [address("0.0.0.0")], NAK, [address("10.0.2.2")]),
        ({"peer": "10.0.2.2"}, [address("10.0.2.3")], NAK, [address("10.0.2.2")]),
        ({"peer": "10.0.2.2"}, [address("10.0.2.2")], ACK, [address("10.0.2.2")]),
        ({"peer": "10.0.2.2"}, [Option(3, b"123")], NAK, [address("10.0.2.2")]),
        ({"peer": "10.0.2.2"}, [], NAK, [address("10.0.2.2")]),
        ({"peer": "10.0.2.2"}, [address("0.0.0.0"), VJ], REJECT, [VJ]),
        ({}, [Option(1, bytes(8))], REJECT, [Option(1, bytes(8))]),
        ({}, [Option(130, bytes(4))], REJECT, [Option(130, bytes(4))]),
        ({}, [dns1("0.0.0.0")], REJECT, [dns1("0.0.0.0")]),
        ({"dns": ["1.1.1.1"]}, [dns1("0.0.0.0")], NAK, [dns1("1.1.1.1")]),
        ({"dns": ["1.1.1.1"]}, [dns1("0.0.0.0"), dns2("0.0.0.0")], REJECT, [dns2("0.0.0.0")]),
        ({"dns": "1.1.1.1"}, [dns1("1.1.1.1")], ACK, [dns1("1.1.1.1")]),
        ({"dns": ["1.1.1.1", "2.2.2.2"]}, [dns2("9.9.9.9")], NAK, [dns2("2.2.2.2")]),
        ({"dns": ["1.1.1.1"]}, [Option(129, b"12")], NAK, [dns1("1.1.1.1")]),
    ],
)
def test_ipcp_verdicts(config: dict[str, Any], wishes: list[Option], code: int, reply: list[Option]) -> None:
    _, talk = ipcp(**config)
    assert talk.ask(*wishes) == (code, tuple(reply))


def test_ipcp_asks_once_for_the_address_left_out() -> None:
    ncp, talk = ipcp(peer="10.0.2.2")
    assert talk.ask()[0] == NAK
    assert talk.ask() == (ACK, ())
    assert ncp.peer == IP("10.0.2.2")


def test_vj_is_refused_with_the_reason() -> None:
    ncp, talk = ipcp()
    talk.ask(VJ)
    assert "overtake" in ncp.refused["IP-Compression-Protocol"]


def test_ipcp_takes_what_it_asked_for() -> None:
    ncp, talk = ipcp(local="0.0.0.0", ask_dns=True)
    after = talk.answer(NAK, address("10.0.2.15"), dns1("1.1.1.1"), dns2("2.2.2.2"))
    assert after == (address("10.0.2.15"), dns1("1.1.1.1"), dns2("2.2.2.2"))
    talk.answer(ACK, *after)
    talk.ask()
    assert ncp.opened
    assert (ncp.local, ncp.dns) == (IP("10.0.2.15"), (IP("1.1.1.1"), IP("2.2.2.2")))


def test_ipcp_does_without_dns() -> None:
    ncp, talk = ipcp(ask_dns=True)
    assert talk.answer(REJECT, dns1("0.0.0.0"), dns2("0.0.0.0")) == ()
    assert ncp.dns == ()


def test_ipcp_keeps_a_given_address_and_says_why_it_ends() -> None:
    ncp, talk = ipcp(local="10.0.0.1")
    for _ in range(6):
        assert ncp.failure is None
        assert talk.answer(NAK, address("10.0.0.7")) == (address("10.0.0.1"),)
    assert ncp.failure == "IPCP: the peer wants our address to be 10.0.0.7; configured is 10.0.0.1"
    assert ncp.state is State.CLOSING


def test_ipcp_given_address_survives_a_reject() -> None:
    ncp, talk = ipcp(local="10.0.0.1")
    assert talk.answer(REJECT, address("10.0.0.1")) == ()
    assert ncp.failure is None
    assert ncp.local == IP("10.0.0.1")


@pytest.mark.parametrize("code", [REJECT, ACK])
def test_ipcp_ends_when_no_address_is_given(code: int) -> None:
    ncp, talk = ipcp(local="0.0.0.0")
    talk.answer(code, address("0.0.0.0"))
    assert ncp.failure is not None
    assert "configure local" in ncp.failure


@pytest.mark.parametrize("data", [b"", b"123", b"12345", bytes(4)])
def test_ipcp_naks_of_nonsense_end(data: bytes) -> None:
    ncp, talk = ipcp(local="0.0.0.0", ask_dns=True)
    for _ in range(60):
        talk.answer(NAK, Option(3, data), Option(129, data))
        if ncp.state is State.CLOSING:
            break
    assert ncp.failure is not None


def ipv6cp(**config: Any) -> tuple[Ipv6cp, Talk]:
    ncp = Ipv6cp(Ipv6Options(**config), random.Random(1), Timing())
    return ncp, Talk(ncp)


class TestIpv6cp:
    def test_given_identifier(self) -> None:
        ncp, talk = ipv6cp(interface_id="fe80::1")
        assert talk.options() == (identifier(1),)
        assert ncp.local == IPv6Address("fe80::1")

    def test_drawn_identifier_is_local(self) -> None:
        _, talk = ipv6cp()
        number = options.INTERFACE_IDENTIFIER.read(talk.options()[0])
        assert number
        assert not number >> 57 & 1

    def test_peer_accepted(self) -> None:
        ncp, talk = ipv6cp()
        assert talk.ask(identifier(9)) == (ACK, (identifier(9),))
        assert ncp.peer == IPv6Address("fe80::9")

    def test_peer_without_one_is_given_one(self) -> None:
        _, talk = ipv6cp(peer_interface_id="fe80::2")
        assert talk.ask(identifier(0)) == (NAK, (identifier(2),))
        _, talk = ipv6cp()
        code, listed = talk.ask(identifier(0))
        assert code == NAK
        assert options.INTERFACE_IDENTIFIER.read(listed[0])

    def test_collision(self) -> None:
        _, talk = ipv6cp(interface_id=5)
        code, listed = talk.ask(identifier(5))
        assert code == NAK
        assert listed[0] != identifier(5)

    def test_takes_the_proposal(self) -> None:
        _, talk = ipv6cp()
        assert talk.answer(NAK, identifier(77)) == (identifier(77),)

    def test_given_one_is_kept_and_the_end_is_named(self) -> None:
        ncp, talk = ipv6cp(interface_id=5)
        for _ in range(6):
            assert talk.answer(NAK, identifier(77)) == (identifier(5),)
        assert ncp.failure == "IPV6CP: no interface identifier found that the peer takes"

    def test_own_proposals_come_back(self) -> None:
        ncp, talk = ipv6cp()
        for _ in range(5):
            mine = talk.options()[0]
            _, proposal = talk.ask(mine)
            talk.answer(NAK, *proposal)
        assert ncp.failure is not None
        assert "looped back" in ncp.failure

    def test_rejected(self) -> None:
        ncp, talk = ipv6cp()
        assert talk.answer(REJECT, *talk.options()) == ()
        assert ncp.local is None

    @pytest.mark.parametrize("wish", [Option(2, b"\0\x61"), Option(14)])
    def test_others_are_rejected(self, wish: Option) -> None:
        _, talk = ipv6cp()
        assert talk.ask(wish) == (REJECT, (wish,))

    def test_wrong_length_is_nakked(self) -> None:
        _, talk = ipv6cp(peer_interface_id=3)
        assert talk.ask(Option(1, b"1234")) == (NAK, (identifier(3),))

    def test_equal_ends_find_two_identifiers(self) -> None:
        pair = Pair(Endpoint(Ppp(ipv6=Ipv6Options()), 1), Endpoint(Ppp(ipv6=Ipv6Options()), 2))
        for end, drawn in zip(pair.ends, ([4, 5, 6, 7, 8], [4, 15, 16, 17, 18]), strict=True):
            end.network.ipv6cp._draw = iter(drawn).__next__  # type: ignore[union-attr, method-assign]
        pair.start()
        pair.run(10)
        a, b = (end.network.addresses for end in pair.ends)
        assert a.local6 is not None
        assert a.local6 == b.peer6
        assert b.local6 == a.peer6
        assert a.local6 != b.local6


class TestNetwork:
    def test_address_given_and_assigned(self) -> None:
        """As with slirp: it asks for 0.0.0.0 and is told 10.0.2.2."""
        pair = joined(
            Ppp(ip=IpOptions(local="10.0.2.15", peer="10.0.2.2", dns=["10.0.2.3"])),
            Ppp(ip=IpOptions(local="0.0.0.0", ask_dns=True)),
        )
        pair.run(5)
        a, b = (end.network.addresses for end in pair.ends)
        assert a == Addresses(local=IP("10.0.2.15"), peer=IP("10.0.2.2"))
        assert b == Addresses(local=IP("10.0.2.2"), peer=IP("10.0.2.15"), dns=(IP("10.0.2.3"),))

    def test_defaults_open_without_addresses(self) -> None:
        pair = joined(Ppp(), Ppp())
        pair.run(5)
        assert all(end.up for end in pair.ends)
        assert pair.ends[0].network.addresses == Addresses()

    def test_nobody_knows_an_address(self) -> None:
        pair = joined(Ppp(ip=IpOptions(local="0.0.0.0")), Ppp(ip=IpOptions(local="0.0.0.0")))
        pair.run(30)
        assert all(end.link.dead for end in pair.ends)
        assert any("configure local" in (end.link.failure or "") for end in pair.ends)

    def test_data_passes_only_while_its_ncp_is_open(self) -> None:
        network = Network(Ppp(ipv6=Ipv6Options()), random.Random(1))
        assert not network.permits(0x21)
        assert not network.permits(None)
        pair = joined(Ppp(), Ppp(ipv6=Ipv6Options()))
        pair.run(5)
        assert pair.ends[1].network.permits(0x21)
        assert not pair.ends[1].network.permits(0x57)
        assert not pair.ends[1].network.permits(0x8021)
        pair.ends[1].network.close(5)
        assert not pair.ends[1].network.permits(0x21)

    def test_peer_without_ipv6(self) -> None:
        pair = joined(Ppp(), Ppp(ipv6=Ipv6Options()))
        pair.run(5)
        a, b = pair.ends
        assert a.up
        assert b.up
        ended = [e for e in b.events if isinstance(e, NcpDown) and e.protocol == 0x57]
        assert ended[0].reason == "the peer does not speak IPV6CP (Protocol-Reject)"
        assert b.network.failure is None

    def test_no_common_network_protocol(self) -> None:
        pair = joined(Ppp(), Ppp(ip=None, ipv6=Ipv6Options()))
        pair.run(30)
        assert all(end.link.dead for end in pair.ends)

    def test_refusals_are_told_once(self) -> None:
        network = Network(Ppp(), random.Random(1))
        network.up(0)
        for _ in range(50):
            network.receive(Packet(ControlPacket(1, 1, VJ.encode()).encode(), 0x8021), 0)
        told = [e for e in network.take_events() if isinstance(e, LinkOptionRefused)]
        assert [(e.protocol, e.option) for e in told] == [("IPCP", "IP-Compression-Protocol")]

    def test_gives_up_and_tries_again_where_another_holds_the_link(self) -> None:
        config = Ppp(ipv6=Ipv6Options())
        network = Network(config, random.Random(1))
        network.up(0.0)
        v6 = Talk.__new__(Talk)
        assert network.ipv6cp is not None
        v6.ncp = network.ipv6cp
        requests = {p.protocol: parse_control(p.payload) for p in network.take_output()}
        asked = requests[0x8057]
        assert asked is not None
        network.receive(Packet(ControlPacket(2, asked.identifier, asked.data).encode(), 0x8057), 0)
        network.receive(Packet(ControlPacket(1, 1, identifier(9).encode()).encode(), 0x8057), 0)
        assert network.permits(0x57)
        network.take_output()
        times = []
        for _ in range(11):
            assert network.next_deadline is not None
            times.append(network.next_deadline)
            network.tick(network.next_deadline)
        assert times == [0.5, 1.5, 3.5, *(3.5 + 3.0 * n for n in range(1, 8)), 54.5]
        sent = [p.protocol for p in network.take_output()]
        assert sent == [0x8021] * 10
        assert network.failure is None

    def test_all_ended(self) -> None:
        network = Network(Ppp(), random.Random(1))
        network.up(0.0)
        while network.failure is None:
            assert network.next_deadline is not None
            network.tick(network.next_deadline)
        assert network.failure == "IPCP: no answer to 10 Configure-Requests"

    def test_up_again_after_down(self) -> None:
        pair = joined(Ppp(ip=IpOptions(local="10.0.0.1", peer="10.0.0.2")), Ppp(ip=IpOptions(local="0.0.0.0")))
        pair.run(5)
        # The peer starts LCP anew on the open link: everything above goes down and comes up again.
        a, b = pair.ends
        b.link.lcp.down(5)
        b.link.lcp.up(5)
        b.link._run(5)
        b.settle(5)
        pair.run(20)
        assert a.up
        assert b.up
        kinds = [type(e) for e in a.events if isinstance(e, NcpUp | NcpDown)]
        assert kinds == [NcpUp, NcpDown, NcpUp]
        assert a.phases == [Phase.ESTABLISH, Phase.NETWORK, Phase.ESTABLISH, Phase.NETWORK]
