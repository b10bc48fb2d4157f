"""Telnet's com-port control (RFC 2217): a serial port on another machine, and its settings, over one TCP connection.

Sans-IO: bytes from the connection go into `ComPortClient.receive`, which gives the bytes of the line; what has to be
sent is in `take_output`. The Telnet below it is that of RFC 854 and 855, with Binary Transmission (RFC 856), which
both directions need for 8-bit data, and Suppress Go Ahead (RFC 858).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import IntEnum
from typing import Final

import attrs

from eqlbond.exceptions import ConfigurationError

# RFC 854
SE: Final = 240
SB: Final = 250
WILL: Final = 251
WONT: Final = 252
DO: Final = 253
DONT: Final = 254
IAC: Final = 255
# RFC 856, 858, 2217: options
BINARY: Final = 0
SUPPRESS_GO_AHEAD: Final = 3
COM_PORT: Final = 44

FROM_SERVER: Final = 100
"""What a server adds to a command's number."""

_ESCAPED: Final = b"\xff\xff"
_MOST_SUBNEGOTIATION: Final = 512  # a server's SIGNATURE is the only one that is more than a few bytes
_MOST_ANSWERS: Final = 64  # a peer that negotiates in circles is not followed for ever (RFC 1143)
_RATE_TOLERANCE: Final = 0.03


class Command(IntEnum):
    """RFC 2217 section 2: commands of the client; a server answers with the number + 100."""

    SIGNATURE = 0
    SET_BAUDRATE = 1
    SET_DATASIZE = 2
    SET_PARITY = 3
    SET_STOPSIZE = 4
    SET_CONTROL = 5
    NOTIFY_LINESTATE = 6
    NOTIFY_MODEMSTATE = 7
    FLOWCONTROL_SUSPEND = 8
    FLOWCONTROL_RESUME = 9
    SET_LINESTATE_MASK = 10
    SET_MODEMSTATE_MASK = 11
    PURGE_DATA = 12


class Control(IntEnum):
    """Values of SET_CONTROL that eqlbond uses."""

    NO_FLOW_CONTROL = 1
    XON_XOFF = 2
    HARDWARE = 3
    BREAK_ON = 5
    BREAK_OFF = 6
    DTR_ON = 8
    DTR_OFF = 9
    RTS_ON = 11
    RTS_OFF = 12


PARITIES: Final = {"N": 1, "O": 2, "E": 3, "M": 4, "S": 5}
STOP_SIZES: Final = {1: 1, 2: 2, 1.5: 3}

CARRIER: Final = 0x80
RING: Final = 0x40
DSR: Final = 0x20
CTS: Final = 0x10
"""Bits of the modem state (section 3), as of a UART's modem status register."""

LINE_ERRORS: Final = {0x02: "overrun", 0x04: "parity", 0x08: "framing", 0x10: "break"}
"""Bits of the line state that tell of damaged or lost characters, and what they are counted as."""


def escape(data: bytes) -> bytes:
    """Data of the line as they go through Telnet: each FF twice."""
    return data.replace(b"\xff", _ESCAPED) if b"\xff" in data else data


def subnegotiation(command: int, value: bytes) -> bytes:
    """A com-port command, ready for the connection.

    >>> subnegotiation(Command.SET_BAUDRATE, (57600).to_bytes(4, "big")).hex(" ")
    'ff fa 2c 01 00 00 e1 00 ff f0'
    """
    return bytes((IAC, SB, COM_PORT)) + escape(bytes((command,)) + value) + bytes((IAC, SE))


@attrs.frozen
class Negotiation:
    """WILL, WONT, DO or DONT of an option."""

    verb: int
    option: int


@attrs.frozen
class Subnegotiation:
    """What stood between SB and SE."""

    option: int
    content: bytes


Item = bytes | Negotiation | Subnegotiation


class TelnetDecoder:
    """Takes a Telnet stream apart, in any cut. Memory is bounded, and time linear.

    Commands without meaning here (NOP, GA, AYT, ...) are skipped. A subnegotiation that is too long is dropped and
    counted in `too_long`.
    """

    __slots__ = ("_held", "_option", "_state", "_text", "too_long")

    def __init__(self) -> None:
        self._state = "data"
        self._held = 0  # the verb that waits for its option
        self._option = -1
        self._text = bytearray()
        self.too_long = 0

    def feed(self, data: bytes) -> list[Item]:
        """The data, negotiations and subnegotiations in it, in order."""
        if self._state == "data" and IAC not in data:
            return [data] if data else []
        items: list[Item] = []
        run: list[bytes] = []  # joined once: there may be a piece for each doubled IAC
        for item in self._items(data):
            if isinstance(item, bytes):
                run.append(item)
                continue
            if run:
                items.append(b"".join(run))
                run.clear()
            items.append(item)
        if run:
            items.append(b"".join(run))
        return items

    def _items(self, data: bytes) -> Iterator[Item]:
        # Data go by runs between the IACs; only what belongs to a command is looked at octet by octet.
        position, end = 0, len(data)
        while position < end:
            if self._state == "data":
                stop = data.find(b"\xff", position)
                stop = end if stop < 0 else stop
                if stop > position:
                    yield data[position:stop]
                position = stop
                if stop < end:
                    self._state = "iac"
                    position += 1
            elif self._state == "text":
                stop = data.find(b"\xff", position)
                stop = end if stop < 0 else stop
                self._text += data[position : min(stop, position + _MOST_SUBNEGOTIATION + 1 - len(self._text))]
                position = stop
                if stop < end:
                    self._state = "text iac"
                    position += 1
            else:
                item = self._octet(data[position])
                position += 1
                if item is not None:
                    yield item

    def _octet(self, octet: int) -> Item | None:
        state, self._state = self._state, "data"
        if state == "iac":
            if octet == IAC:
                return b"\xff"
            if octet in (WILL, WONT, DO, DONT):
                self._held = octet
                self._state = "verb"
            elif octet == SB:
                self._state = "option"
        elif state == "verb":
            return Negotiation(self._held, octet)
        elif state == "option":
            self._option = octet
            self._text.clear()
            self._state = "text"
        elif octet == IAC:  # a doubled one inside a subnegotiation
            if len(self._text) <= _MOST_SUBNEGOTIATION:
                self._text.append(IAC)
            self._state = "text"
        elif octet == SE:
            if len(self._text) > _MOST_SUBNEGOTIATION:
                self.too_long += 1
                return None
            return Subnegotiation(self._option, bytes(self._text))
        else:  # no SE: the subnegotiation was broken off (RFC 855), and this is a command
            self._state = "iac"
            return self._octet(octet)
        return None


@attrs.frozen(kw_only=True)
class PortSettings:
    """How the far port is set.

    Raises:
        ConfigurationError: a value that RFC 2217 has no number for.
    """

    baudrate: int = 57600
    bytesize: int = 8
    parity: str = "N"
    stopbits: float = 1
    rtscts: bool = False
    xonxoff: bool = False
    dtr: bool = True
    rts: bool = True

    def __attrs_post_init__(self) -> None:
        if isinstance(self.baudrate, bool) or not isinstance(self.baudrate, int) or not 0 < self.baudrate < 1 << 32:
            raise ConfigurationError("baudrate", f"bit/s above 0, not {self.baudrate!r}")
        if self.bytesize not in (5, 6, 7, 8):
            raise ConfigurationError("bytesize", f"5, 6, 7 or 8 bits, not {self.bytesize!r}")
        if self.parity not in PARITIES:
            raise ConfigurationError("parity", f"'N', 'E', 'O', 'M' or 'S', not {self.parity!r}")
        if self.stopbits not in STOP_SIZES:
            raise ConfigurationError("stopbits", f"1, 1.5 or 2, not {self.stopbits!r}")


class ComPortClient:
    """The client's side of one connection, from the first negotiation on.

    It is `open` when the server does binary data and com-port control, and has answered all settings; `failure` tells
    why it will not be.

    Args:
        settings: how the far port is to be set.
    """

    def __init__(self, settings: PortSettings) -> None:
        self.settings = settings
        self.open = False
        self.failure: str | None = None
        self.suspended = False
        """The server wants no data for the moment."""
        self.modem_state: int | None = None
        """The last modem state that the server told; bits `CARRIER`, `RING`, `DSR`, `CTS`."""
        self.line_errors: dict[str, int] = {}
        """Damaged and lost characters that the server told of, by kind."""
        self.signature = ""
        """What the server says it is."""
        self.unanswered = 0
        """Requests of a peer in circles that were not answered any more."""
        self._decoder = TelnetDecoder()
        self._output: list[bytes] = []
        self._answers = 0
        self._ours = {BINARY: "wanted", SUPPRESS_GO_AHEAD: "wanted", COM_PORT: "wanted"}  # what we do
        self._theirs = {BINARY: "wanted", SUPPRESS_GO_AHEAD: "wanted", COM_PORT: "no"}  # what the server does
        self._waiting: dict[int, Callable[[bytes], str | None]] = {}  # settings that the server has to answer
        self._asked = False
        for option in self._ours:
            self._say(WILL, option)
        for option in (BINARY, SUPPRESS_GO_AHEAD):
            self._say(DO, option)

    # -- the connection

    def take_output(self) -> bytes:
        """What is to be sent now, before any data."""
        output = b"".join(self._output)
        self._output.clear()
        return output

    def receive(self, data: bytes) -> bytes:
        """Take what the connection delivered; returns the data of the line. Nothing that arrives raises."""
        items = self._decoder.feed(data)
        if len(items) == 1 and isinstance(items[0], bytes):
            return items[0]
        line: list[bytes] = []
        for item in items:
            if isinstance(item, bytes):
                line.append(item)
            elif isinstance(item, Negotiation):
                self._negotiate(item.verb, item.option)
            elif item.option == COM_PORT and item.content:
                self._told(item.content[0], item.content[1:])
        return b"".join(line)

    def _say(self, verb: int, option: int) -> None:
        self._output.append(bytes((IAC, verb, option)))

    def _negotiate(self, verb: int, option: int) -> None:
        """Telnet options, answered only where something changes (RFC 854, RFC 1143)."""
        positive = verb in (WILL, DO)
        side, yes, no = (self._theirs, DO, DONT) if verb in (WILL, WONT) else (self._ours, WILL, WONT)
        state = side.get(option)
        if state is None or (state == "no" and positive):
            if positive and not (state == "no" and option == COM_PORT):
                self._answer(no, option)
            elif positive:  # a server that offers com-port control itself
                side[option] = "yes"
                self._answer(yes, option)
            return
        if positive:
            if state == "refused":
                self._answer(yes, option)
            side[option] = "yes"
        else:
            if state == "yes":
                self._answer(no, option)
            side[option] = "refused"
            if option == COM_PORT and side is self._ours:
                self._fail("the server does no com-port control (RFC 2217): is it a raw port? Then use socket://")
            elif option == BINARY:
                self._fail("the server refuses binary data (RFC 856), which packets need")
        self._proceed()

    def _answer(self, verb: int, option: int) -> None:
        if self._may_answer():
            self._say(verb, option)

    def _may_answer(self) -> bool:
        self._answers += 1
        if self._answers > _MOST_ANSWERS:
            self.unanswered += 1
            return False
        return True

    def _fail(self, why: str) -> None:
        self.failure = self.failure or why

    # -- com-port control

    def _proceed(self) -> None:
        """Ask for the settings once the options stand."""
        if self._asked or self._ours[COM_PORT] != "yes" or self._ours[BINARY] != "yes" or self._theirs[BINARY] != "yes":
            return
        self._asked = True
        settings = self.settings
        size = settings.bytesize
        self._set(Command.SET_BAUDRATE, settings.baudrate.to_bytes(4, "big"), self._judge_baudrate)
        self._set(Command.SET_DATASIZE, bytes((size,)), self._judge("bytesize", size, size))
        parity = PARITIES[settings.parity]
        self._set(Command.SET_PARITY, bytes((parity,)), self._judge("parity", settings.parity, parity))
        stop = STOP_SIZES[settings.stopbits]
        self._set(Command.SET_STOPSIZE, bytes((stop,)), self._judge("stopbits", settings.stopbits, stop))
        flow = (
            Control.HARDWARE if settings.rtscts else Control.XON_XOFF if settings.xonxoff else Control.NO_FLOW_CONTROL
        )
        self._control(flow)
        self.set_dtr(settings.dtr)
        if not settings.rtscts:
            self.set_rts(settings.rts)
        self._command(Command.SET_MODEMSTATE_MASK, b"\xff")
        self._command(Command.SET_LINESTATE_MASK, bytes((sum(LINE_ERRORS),)))
        self._command(Command.PURGE_DATA, b"\x03")

    def _command(self, command: int, value: bytes) -> None:
        self._output.append(subnegotiation(command, value))

    def _set(self, command: Command, value: bytes, judge: Callable[[bytes], str | None]) -> None:
        self._waiting[command + FROM_SERVER] = judge
        self._command(command, value)

    def _control(self, value: Control) -> None:
        # Servers differ in what they answer to these, so nothing waits for it.
        self._command(Command.SET_CONTROL, bytes((value,)))

    def _judge_baudrate(self, value: bytes) -> str | None:
        actual = int.from_bytes(value[:4], "big")
        wanted = self.settings.baudrate
        if len(value) >= 4 and abs(actual - wanted) <= _RATE_TOLERANCE * wanted:
            return None
        return f"baudrate={wanted}: the far port set {actual or 'another rate'} instead"

    @staticmethod
    def _judge(name: str, wanted: object, number: int) -> Callable[[bytes], str | None]:

        def judge(value: bytes) -> str | None:
            return None if value[:1] == bytes((number,)) else f"{name}={wanted!r}: the far port does not do it"

        return judge

    def _told(self, command: int, value: bytes) -> None:
        judge = self._waiting.pop(command, None)
        if judge is not None:
            problem = judge(value)
            if problem is not None:
                self._fail(problem)
            self.open = self._asked and not self._waiting and self.failure is None
            return
        match command - FROM_SERVER:
            case Command.FLOWCONTROL_SUSPEND:
                self.suspended = True
            case Command.FLOWCONTROL_RESUME:
                self.suspended = False
            case Command.NOTIFY_MODEMSTATE if value:
                self.modem_state = value[0]
            case Command.NOTIFY_LINESTATE if value:
                for bit, kind in LINE_ERRORS.items():
                    if value[0] & bit:
                        self.line_errors[kind] = self.line_errors.get(kind, 0) + 1
            case Command.SIGNATURE:
                if value:
                    self.signature = value[:100].decode("ascii", "replace")
                elif self._may_answer():  # an empty one asks for ours
                    self._command(Command.SIGNATURE, b"eqlbond")

    # -- while it is open

    def set_dtr(self, on: bool) -> None:
        """Set the far port's DTR."""
        self._control(Control.DTR_ON if on else Control.DTR_OFF)

    def set_rts(self, on: bool) -> None:
        """Set the far port's RTS."""
        self._control(Control.RTS_ON if on else Control.RTS_OFF)

    def set_break(self, on: bool) -> None:
        """Begin or end a break on the far port."""
        self._control(Control.BREAK_ON if on else Control.BREAK_OFF)

    def suspend(self) -> None:
        """Ask the server for no data until `resume`."""
        self._command(Command.FLOWCONTROL_SUSPEND, b"")

    def resume(self) -> None:
        """Take data again."""
        self._command(Command.FLOWCONTROL_RESUME, b"")
