"""What modems say about a call: result codes and connection reports.

The basic results are those of ITU-T V.250 (section 5.7.1, table 1, and 6.3 for calls); what stands behind CONNECT is
each maker's own. The forms that are read:

- ``CONNECT 33600/ARQ/V34/LAPM/V42BIS``, ``CONNECT 14400/REL``, ``CONNECT 33600 EC``: the speed of the line;
- ``CONNECT 38400/V.32bis 14400/V.42bis``: the port's speed, then the line's;
- ``CONNECT 115200/V34/LAPM/V42BIS/33600:TX/31200:RX``, ``CONNECT 75TX/1200RX``: both directions;
- ``CARRIER 33600``, ``PROTOCOL: LAP-M``, ``COMPRESSION: V.42BIS``, then ``CONNECT 115200`` (the port's speed);
- V.250's ``+MCR: V34,33600``, ``+MRR: 33600,31200``, ``+ER: LAPM``, ``+DR: V42B``.
"""

from __future__ import annotations

import re

import attrs

from eqlbond.aio.line_info import LineInfo
from eqlbond.modem import errors

__all__ = ["CallReport", "failure", "result_code"]

_NUMERIC = {
    "0": "OK",
    "1": "CONNECT",
    "2": "RING",
    "3": "NO CARRIER",
    "4": "ERROR",
    "6": "NO DIALTONE",
    "7": "BUSY",
    "8": "NO ANSWER",
}
_FAILURES: dict[str, tuple[type[errors.DialError], str]] = {
    "BUSY": (errors.Busy, "the number is busy"),
    "VOICE": (errors.Voice, "a voice answered"),
    "NO CARRIER": (errors.NoCarrier, "no carrier"),
    "NO ANSWER": (errors.NoAnswer, "no answer"),
    "NO DIALTONE": (errors.NoDialtone, "no dial tone"),
    "NO DIAL TONE": (errors.NoDialtone, "no dial tone"),
    "DELAYED": (errors.CallBarred, "the modem delays calls to this number"),
    "BLACKLISTED": (errors.CallBarred, "the modem has blacklisted this number"),
    "BLACKLIST FULL": (errors.CallBarred, "the modem's blacklist is full"),
    "ERROR": (errors.CommandRefused, "the modem refused the command"),
}
_PROGRESS = ("RING", "RINGING", "RRING", "DIALING", "DIALTONE", "DIAL TONE")

# A port's speed, never a modem's: these come behind CONNECT where the modem is set to report the port.
_PORT_SPEEDS = frozenset((38400, 57600, 76800, 115200, 230400, 460800, 921600))
# Protocols that carry bytes of 8 bits, without start and stop bits (MNP 1 and 2 do not).
_SYNCHRONOUS = frozenset(
    (
        *("ARQ", "EC", "REL", "RELIABLE", "SREJ", "ALT", "HST", "LAPM", "V42", "V42B", "V42BIS", "V44"),
        *("MNP", "MNP3", "MNP4", "MNP5", "MNP10", "MNP10EC", "X75", "V120", "HDLC", "LAPB"),
    )
)
_V90_UPSTREAM = 33600  # V.90 and V.92 (analogue upstream): what the client's modem sends at, at most
_BOTH = re.compile(r"(\d{2,6}) ?[:/]?(TX|RX)\b")


def result_code(line: str) -> str | None:
    """The result that a line from a modem is, without what stands behind CONNECT, RING or ERROR; None: it is none."""
    line = " ".join(line.upper().split())
    line = _NUMERIC.get(line, line)
    if line.startswith("CONNECT"):
        return "CONNECT" if line[7:8] in ("", " ", "/") else None
    if line.startswith(("+CME ERROR", "+CMS ERROR")):
        return "ERROR"
    if line.startswith(("DELAYED", "BLACKLISTED")):
        return line.split()[0]
    if line in _FAILURES or line == "OK":
        return line
    return "RING" if line.split(" ")[0] in _PROGRESS or line in _PROGRESS else None


def failure(device: str, result: str, said: str) -> errors.DialError | None:
    """The exception for a result; None where it is no failure. `said`: the modem's own words."""
    found = _FAILURES.get(result)
    if found is None:
        return None
    kind, problem = found
    return kind(device, f"{problem} ({said.strip()})", result)


def _is_v90(rate: int) -> bool:
    """Whether a rate is one of V.90's downstream steps, 8000/6 bit/s apart, above what V.34 does."""
    return _V90_UPSTREAM < rate <= 56000 and round((rate - 28000) * 6 / 8000) * 8000 // 6 + 28000 == rate


@attrs.define
class CallReport:
    """Gathers what the modem tells about a call, line by line."""

    rate: int | None = None
    """Bit/s from here to there; None: not told."""
    receive_rate: int | None = None
    error_correction: bool | None = None
    """None: not told."""
    text: str = ""
    """The CONNECT line."""
    _carrier: int | None = None

    def line(self, text: str) -> bool:
        """Take a line; True when it is the CONNECT that ends the report."""
        upper = " ".join(text.upper().split())
        if result_code(upper) == "CONNECT":
            self.text = text.strip() if not upper.isdigit() else "CONNECT"
            self._connect(upper[7:])
            return True
        name, _, value = upper.replace(":", " ", 1).partition(" ")
        if name in ("CARRIER", "+MCR", "+MRR"):
            numbers = [int(n) for n in re.findall(r"(?<![\w.])\d{3,6}\b", value)]
            if numbers:
                self._carrier = numbers[0]
                self.receive_rate = numbers[1] if len(numbers) > 1 else None
        elif name in ("PROTOCOL", "+ER") or (name in ("COMPRESSION", "+DR") and "NONE" not in value):
            self._correction(value)
        return False

    def _correction(self, text: str) -> None:
        words = {re.sub(r"[-.]", "", word) for word in re.split(r"[\s/,:()]+", text) if word}
        if words & _SYNCHRONOUS:
            self.error_correction = True
        elif "NONE" in words and self.error_correction is None:
            self.error_correction = False

    def _connect(self, text: str) -> None:
        both = {way: int(rate) for rate, way in _BOTH.findall(text)}
        self._correction(text)
        text = _BOTH.sub("", text)
        words = [word for word in re.split(r"[\s/,:()]+", text) if word]
        numbers = [int(word) for word in words if word.isdigit() and len(word) <= 7]
        if "TX" in both:
            self.rate, self.receive_rate = both["TX"], both.get("RX")
        elif self._carrier is not None:
            self.rate = self._carrier
        elif len(numbers) > 1 and not words[1].isdigit() and numbers[1] not in _PORT_SPEEDS:
            self.rate = numbers[1]
        elif numbers and numbers[0] not in _PORT_SPEEDS:
            self.rate = numbers[0]
            if len(numbers) > 1 and words[1].isdigit():
                self.receive_rate = numbers[1]
        if self.rate is not None and self.receive_rate is None and _is_v90(self.rate):
            self.rate, self.receive_rate = _V90_UPSTREAM, self.rate
        if not self.rate:
            self.rate = None
        if self.receive_rate == self.rate:
            self.receive_rate = None

    def line_info(self, baudrate: int | None, closing_time: float) -> LineInfo:
        """The report as a slave reads it. A speed that is the port's own is not taken for the line's."""
        rate = None if self.rate == baudrate and self.receive_rate is None and self._carrier is None else self.rate
        return LineInfo(
            rate=rate,
            bits_per_byte=8.0 if self.error_correction else 10.0 if self.error_correction is False else None,
            receive_rate=self.receive_rate,
            description=self.text,
            closing_time=closing_time,
        )
