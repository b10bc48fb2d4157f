"""Telnet and com-port control: tables, byte by byte, and a server in circles."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eqlbond.codec import rfc2217
from eqlbond.codec.rfc2217 import (
    BINARY,
    CARRIER,
    COM_PORT,
    DO,
    DONT,
    FROM_SERVER,
    IAC,
    SB,
    SE,
    SUPPRESS_GO_AHEAD,
    WILL,
    WONT,
    Command,
    ComPortClient,
    Item,
    Negotiation,
    PortSettings,
    Subnegotiation,
    TelnetDecoder,
    escape,
    subnegotiation,
)
from eqlbond.exceptions import ConfigurationError

ECHO, NAWS = 1, 31


def joined(items: list[Item]) -> list[Item]:
    """Neighbouring data as one."""
    found: list[Item] = []
    for item in items:
        if isinstance(item, bytes) and found and isinstance(found[-1], bytes):
            found[-1] += item
        else:
            found.append(item)
    return found


def decode(data: bytes, cut: int) -> list[Item]:
    decoder = TelnetDecoder()
    items: list[Item] = []
    for start in range(0, len(data), cut):
        items += decoder.feed(data[start : start + cut])
    return joined(items)


STREAMS: list[tuple[bytes, list[Any]]] = [
    (b"", []),
    (b"plain", [b"plain"]),
    (b"a\xff\xffb", [b"a\xffb"]),
    (b"\xff\xff\xff\xff", [b"\xff\xff"]),
    (b"a\xff\xfb\x00b", [b"a", Negotiation(WILL, BINARY), b"b"]),
    (b"\xff\xfd\xff\xff\xff", [Negotiation(DO, 255), b"\xff"]),
    (b"\xff\xfa\x2c\x01\xff\xff\xff\xf0z", [Subnegotiation(44, b"\x01\xff"), b"z"]),
    (b"\xff\xfa\x2c\xff\xf0", [Subnegotiation(44, b"")]),
    (b"x\xff\xf1\xff\xf9y", [b"xy"]),  # NOP and GA
    (b"\r\0\r\n", [b"\r\0\r\n"]),  # binary: nothing is padding
    (b"\xff\xfa\x2c\x01\xff\xfb\x00a", [Negotiation(WILL, BINARY), b"a"]),  # broken off
]


@pytest.mark.parametrize("cut", [1, 2, 3, 1000])
@pytest.mark.parametrize(("data", "items"), STREAMS)
def test_streams(data: bytes, items: list[Any], cut: int) -> None:
    assert decode(data, cut) == items


@given(st.binary(max_size=200), st.integers(1, 50))
def test_escaped_data_come_back_whatever_the_cut(data: bytes, cut: int) -> None:
    assert decode(escape(data), cut) == ([data] if data else [])


@given(st.binary(max_size=300), st.integers(1, 50))
def test_anything_decodes_alike_in_any_cut(data: bytes, cut: int) -> None:
    assert decode(data, cut) == decode(data, len(data) or 1)


@given(st.integers(0, 255), st.binary(max_size=40))
def test_subnegotiations_come_back(command: int, value: bytes) -> None:
    assert decode(subnegotiation(command, value), 1) == [Subnegotiation(COM_PORT, bytes((command,)) + value)]


@pytest.mark.parametrize("cut", [1, 7, 100_000])
def test_a_subnegotiation_without_end_is_not_kept(cut: int) -> None:
    decoder = TelnetDecoder()
    data = bytes((IAC, SB, COM_PORT)) + bytes(50_000)
    for start in range(0, len(data), cut):
        decoder.feed(data[start : start + cut])
    assert len(decoder._text) <= 600
    assert decoder.feed(b"\xff\xff\xff\xf0after") == [b"after"]
    assert decoder.too_long == 1


def test_doubled_bytes_by_the_megabyte_take_no_more_time_than_others() -> None:
    data = b"\xff\xff" * (1 << 20)
    began = time.process_time()
    assert TelnetDecoder().feed(b"\xff\xfb\x00" + data) == [Negotiation(WILL, BINARY), b"\xff" * (1 << 20)]
    assert time.process_time() - began < 8  # a copy of all so far for each of them takes much longer


# -- the client


class Server:
    """As much of a server as a test wants: answers what it gets, by the RFC."""

    def __init__(self, client: ComPortClient, **odd: Any) -> None:
        self.client = client
        self.odd = odd
        self.decoder = TelnetDecoder()
        self.heard: list[Item] = []
        self.line = b""

    def run(self, cut: int = 1000) -> None:
        for _ in range(20):
            output = self.client.take_output()
            if not output:
                return
            answer = b"".join(self.answer(item) for item in self.decoder.feed(output))
            for start in range(0, len(answer), cut):
                self.line += self.client.receive(answer[start : start + cut])
        raise AssertionError("they talk for ever")

    def answer(self, item: Item) -> bytes:
        self.heard.append(item)
        match item:
            case Negotiation(verb=verb, option=option):
                if option in self.odd.get("refuses", ()):
                    return bytes((IAC, DONT if verb == WILL else WONT, option))
                return bytes((IAC, DO if verb == WILL else WILL, option))
            case Subnegotiation(content=content):
                value = self.odd.get(Command(content[0]).name, content[1:])
                return subnegotiation(content[0] + FROM_SERVER, value)
        return b""

    def commands(self) -> list[tuple[int, bytes]]:
        return [(item.content[0], item.content[1:]) for item in self.heard if isinstance(item, Subnegotiation)]


@pytest.mark.parametrize("cut", [1, 3, 1000])
def test_everything_is_set_before_the_line_is_open(cut: int) -> None:
    settings = PortSettings(baudrate=255, parity="E", stopbits=2, rtscts=True, dtr=False)
    client = ComPortClient(settings)
    server = Server(client)
    assert not client.open
    server.run(cut)
    assert client.open
    assert client.failure is None
    assert server.heard[:5] == [
        Negotiation(WILL, BINARY),
        Negotiation(WILL, SUPPRESS_GO_AHEAD),
        Negotiation(WILL, COM_PORT),
        Negotiation(DO, BINARY),
        Negotiation(DO, SUPPRESS_GO_AHEAD),
    ]
    assert server.commands() == [
        (1, b"\x00\x00\x00\xff"),
        (2, b"\x08"),
        (3, b"\x03"),
        (4, b"\x02"),
        (5, b"\x03"),
        (5, b"\x09"),
        (11, b"\xff"),
        (10, b"\x1e"),
        (12, b"\x03"),
    ]


def test_without_hardware_flow_control_rts_is_ours() -> None:
    client = ComPortClient(PortSettings(rts=False, xonxoff=True))
    server = Server(client)
    server.run()
    assert [value[0] for command, value in server.commands() if command == 5] == [2, 8, 12]


@pytest.mark.parametrize(
    ("odd", "words"),
    [
        ({"refuses": (COM_PORT,)}, "socket://"),
        ({"refuses": (BINARY,)}, "binary"),
        ({"SET_BAUDRATE": (9600).to_bytes(4, "big")}, "baudrate=57600: the far port set 9600 instead"),
        ({"SET_BAUDRATE": bytes(4)}, "another rate"),
        ({"SET_BAUDRATE": b"\x01"}, "the far port set 1 instead"),
        ({"SET_PARITY": b"\x02"}, "parity='N'"),
        ({"SET_DATASIZE": b""}, "bytesize=8"),
        ({"SET_STOPSIZE": b"\x03"}, "stopbits=1"),
    ],
)
def test_what_a_server_or_its_port_does_not_do(odd: dict[str, Any], words: str) -> None:
    client = ComPortClient(PortSettings())
    Server(client, **odd).run()
    assert not client.open
    assert client.failure is not None
    assert words in client.failure


@pytest.mark.parametrize(
    "odd",
    [
        {"refuses": (SUPPRESS_GO_AHEAD,)},
        {"SET_BAUDRATE": (57000).to_bytes(4, "big")},
        {"SET_BAUDRATE": (57600).to_bytes(4, "big") + bytes(4)},  # sredird
        {"SET_CONTROL": b"\x01"},
        {"SET_CONTROL": b""},
    ],
)
def test_oddities_that_do_no_harm(odd: dict[str, Any]) -> None:
    client = ComPortClient(PortSettings())
    Server(client, **odd).run()
    assert client.open


@pytest.fixture
def client() -> ComPortClient:
    made = ComPortClient(PortSettings())
    Server(made).run()
    assert made.open
    return made


def from_server(command: int, value: bytes) -> bytes:
    return subnegotiation(command + FROM_SERVER, value)


def test_the_server_stops_and_starts_us(client: ComPortClient) -> None:
    assert client.receive(b"a" + from_server(8, b"") + b"b") == b"ab"
    assert client.suspended
    client.receive(from_server(9, b""))
    assert not client.suspended


def test_modem_and_line_state(client: ComPortClient) -> None:
    assert client.modem_state is None or not client.modem_state & CARRIER
    client.receive(from_server(7, b"\xb0"))
    assert client.modem_state == 0xB0
    client.receive(from_server(6, b"\x0a") + from_server(6, b"\x61") + from_server(6, b"\x02"))
    assert client.line_errors == {"overrun": 2, "framing": 1}
    client.receive(from_server(7, b"") + from_server(6, b""))
    assert client.modem_state == 0xB0


def test_signatures(client: ComPortClient) -> None:
    client.receive(from_server(0, b"ser2net\xff"))
    assert client.signature.startswith("ser2net")
    client.receive(from_server(0, b""))
    assert client.take_output() == subnegotiation(0, b"eqlbond")


def test_lines_and_breaks(client: ComPortClient) -> None:
    client.set_dtr(False)
    client.set_rts(True)
    client.set_break(True)
    client.set_break(False)
    client.suspend()
    client.resume()
    wanted = [(5, b"\x09"), (5, b"\x0b"), (5, b"\x05"), (5, b"\x06"), (8, b""), (9, b"")]
    assert client.take_output() == b"".join(subnegotiation(command, value) for command, value in wanted)


@pytest.mark.parametrize(
    ("said", "answered"),
    [
        ((WILL, ECHO), (DONT, ECHO)),
        ((DO, NAWS), (WONT, NAWS)),
        ((WONT, ECHO), None),
        ((DONT, NAWS), None),
        ((WILL, BINARY), None),
        ((DO, COM_PORT), None),
        ((WILL, COM_PORT), (DO, COM_PORT)),
        ((WONT, SUPPRESS_GO_AHEAD), (DONT, SUPPRESS_GO_AHEAD)),
    ],
)
def test_options_are_answered_once_where_something_changes(
    client: ComPortClient, said: tuple[int, int], answered: tuple[int, int] | None
) -> None:
    client.receive(bytes((IAC, *said)))
    assert client.take_output() == (bytes((IAC, *answered)) if answered else b"")
    assert client.open


def test_a_server_in_circles_is_not_followed_for_ever(client: ComPortClient) -> None:
    client.receive(bytes((IAC, DO, ECHO)) * 10_000)
    assert len(client.take_output()) <= 3 * 64
    assert client.unanswered == 10_000 - 64


def test_a_server_that_asks_for_our_signature_for_ever_is_answered_some_times(client: ComPortClient) -> None:
    question = subnegotiation(Command.SIGNATURE + FROM_SERVER, b"")
    client.receive(question)
    assert client.take_output() == subnegotiation(Command.SIGNATURE, b"eqlbond")
    client.receive(question * 10_000)
    assert client.take_output() == subnegotiation(Command.SIGNATURE, b"eqlbond") * 63
    assert client.unanswered == 10_000 - 63


@given(st.lists(st.binary(max_size=40), max_size=20))
def test_nothing_that_arrives_raises(chunks: list[bytes]) -> None:
    client = ComPortClient(PortSettings())
    for chunk in chunks:
        client.receive(chunk)
        client.receive(bytes((IAC, SB, COM_PORT)) + chunk + bytes((IAC, SE)))
    assert len(client.take_output()) < 3000


@pytest.mark.parametrize(
    ("field", "options"),
    [
        ("baudrate", {"baudrate": 0}),
        ("baudrate", {"baudrate": 1 << 32}),
        ("bytesize", {"bytesize": 9}),
        ("parity", {"parity": "none"}),
        ("stopbits", {"stopbits": 3}),
    ],
)
def test_settings_that_have_no_number(field: str, options: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        PortSettings(**options)
    assert caught.value.field == field


def test_numbers_of_the_rfc() -> None:
    assert (rfc2217.PARITIES["S"], rfc2217.STOP_SIZES[1.5], Command.PURGE_DATA, COM_PORT) == (5, 3, 12, 44)
