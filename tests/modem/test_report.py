"""Result codes and connection reports of various makers."""

from __future__ import annotations

import pytest

from eqlbond.modem import errors
from eqlbond.modem.report import CallReport, failure, result_code

# Lines, the port's speed, then rate, bits per byte and receive rate as a slave learns them.
REPORTS = [
    (["CONNECT 33600/ARQ"], 115200, 33600, 8, None),
    (["CONNECT 33600/ARQ/V34/LAPM/V42BIS"], 115200, 33600, 8, None),
    (["CONNECT 28800/ARQ/VFC/LAPM/V42BIS"], 57600, 28800, 8, None),
    (["CONNECT 14400/ARQ/V32/MNP/MNP5"], 57600, 14400, 8, None),
    (["CONNECT 2400/NONE"], 57600, 2400, 10, None),
    (["CONNECT 14400"], 57600, 14400, None, None),
    (["CONNECT 14400/REL"], 57600, 14400, 8, None),
    (["CONNECT 33600 EC"], 115200, 33600, 8, None),
    (["CONNECT 31200 V42bis"], 115200, 31200, 8, None),
    (["CONNECT 38400/V.32bis 14400/V.42bis"], 38400, 14400, 8, None),
    (["CONNECT 57600/V.34 28800"], 57600, 28800, None, None),
    (["CONNECT 115200/V34/LAPM/V42BIS/33600:TX/31200:RX"], 115200, 33600, 8, 31200),
    (["CONNECT 75TX/1200RX"], 9600, 75, None, 1200),
    (["CONNECT 1200/75"], 9600, 1200, None, 75),
    (["CARRIER 33600", "PROTOCOL: LAP-M", "COMPRESSION: V.42BIS", "CONNECT 115200"], 115200, 33600, 8, None),
    (["CARRIER 9600", "PROTOCOL: NONE", "COMPRESSION: NONE", "CONNECT 9600"], 9600, 9600, 10, None),
    (["CARRIER 14400/VFC", "PROTOCOL: ALT", "CONNECT 57600"], 57600, 14400, 8, None),
    (["+MCR: V34", "+MRR: 33600,31200", "+ER: LAPM", "+DR: V42B", "CONNECT 115200"], 115200, 33600, 8, 31200),
    (["+MRR: 28800", "+ER: NONE", "+DR: NONE", "CONNECT 57600"], 57600, 28800, 10, None),
    (["CONNECT 49333/ARQ/V90/LAPM/V42BIS"], 115200, 33600, 8, 49333),
    (["CONNECT 52000 V42bis"], 115200, 33600, 8, 52000),
    (["CONNECT 64000/X75"], 115200, 64000, 8, None),
    (["CONNECT 115200"], 115200, None, None, None),
    (["CONNECT 115200 V42bis"], 115200, None, 8, None),
    (["CONNECT 57600"], 115200, None, None, None),
    (["CONNECT 9600"], 9600, None, None, None),
    (["CONNECT"], 9600, None, None, None),
    (["1"], 9600, None, None, None),
    (["CONNECT 14400/MNP1"], 57600, 14400, None, None),
    (["connect  28800 / arq"], 57600, 28800, 8, None),
    (["RING", "CARRIER", "PROTOCOL:", "CONNECT 0"], 57600, None, None, None),
    (["CONNECT 999999999999"], 57600, None, None, None),
]


@pytest.mark.parametrize(("lines", "baudrate", "rate", "bits", "receive"), REPORTS, ids=lambda value: str(value))
def test_reports(lines, baudrate, rate, bits, receive):
    report = CallReport()
    assert [report.line(line) for line in lines] == [False] * (len(lines) - 1) + [True]
    info = report.line_info(baudrate, 3.0)
    assert (info.rate, info.bits_per_byte, info.receive_rate) == (rate, bits, receive)
    assert info.closing_time == 3.0


@pytest.mark.parametrize(
    ("line", "code", "error"),
    [
        ("OK", "OK", None),
        ("0", "OK", None),
        ("CONNECT 300", "CONNECT", None),
        ("RING", "RING", None),
        ("RING 1", "RING", None),
        ("RINGING", "RING", None),
        ("BUSY", "BUSY", errors.Busy),
        ("7", "BUSY", errors.Busy),
        ("VOICE", "VOICE", errors.Voice),
        ("NO CARRIER", "NO CARRIER", errors.NoCarrier),
        ("3", "NO CARRIER", errors.NoCarrier),
        ("NO ANSWER", "NO ANSWER", errors.NoAnswer),
        ("NO DIALTONE", "NO DIALTONE", errors.NoDialtone),
        ("NO DIAL TONE", "NO DIAL TONE", errors.NoDialtone),
        ("ERROR", "ERROR", errors.CommandRefused),
        ("+CME ERROR: 10", "ERROR", errors.CommandRefused),
        ("DELAYED 00:01:30", "DELAYED", errors.CallBarred),
        ("BLACKLISTED", "BLACKLISTED", errors.CallBarred),
        ("ATDT5551212", None, None),
        ("CONNECTED TO FOO", None, None),
        ("OKAY", None, None),
        ("", None, None),
    ],
)
def test_result_codes(line, code, error):
    assert result_code(line) == code
    raised = failure("tty", code or "", line)
    assert type(raised) is (error or type(None))
    if raised is not None:
        assert raised.device == "tty"
        assert line in str(raised)
