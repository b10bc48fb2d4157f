"""What the log says of a bond's events, and how often."""

from __future__ import annotations

import logging

import pytest

from eqlbond.aio.event_log import EventLog
from eqlbond.aio.slave import Slave
from eqlbond.events import Emancipated, Retrying, SlaveDown, SlaveUp


async def nowhere(factory: object) -> None:
    raise AssertionError


def test_a_reason_is_told_aloud_when_it_is_new(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="eqlbond")
    log = EventLog()
    slave, other = (Slave(nowhere, name=name) for name in ("shed", "barn"))  # type: ignore[arg-type]

    def level(event: object) -> int:
        log.log(event, closing=False)  # type: ignore[arg-type]
        return caplog.records[-1].levelno

    def fails(attempt: int, reason: str, who: Slave = slave) -> int:
        return level(Retrying(0.0, who, 1.0, attempt, reason, None))

    assert fails(0, "hung up") == logging.INFO
    assert fails(1, "busy") == logging.WARNING
    assert caplog.records[-1].getMessage() == "shed: busy; tried again in 1.0 s, failed 1 times"
    assert fails(1, "busy", other) == logging.WARNING
    assert fails(2, "busy") == logging.DEBUG
    assert fails(3, "no such device") == logging.WARNING
    assert fails(4, "no such device") == logging.DEBUG
    log.log(SlaveUp(0.0, slave), closing=False)
    assert fails(1, "no such device") == logging.WARNING
    log.log(Emancipated(0.0, slave), closing=False)
    assert fails(1, "no such device") == logging.WARNING
    assert fails(2, "busy", other) == logging.DEBUG


def test_a_line_that_nobody_answers_on_is_down_once(caplog: pytest.LogCaptureFixture) -> None:
    """A keepalive takes it down again after each opening."""
    caplog.set_level(logging.INFO, logger="eqlbond")
    log = EventLog()
    slave = Slave(nowhere, name="shed")  # type: ignore[arg-type]
    for _ in range(3):
        log.log(SlaveDown(0.0, slave, "nothing was received for 3 s"), closing=False)
        log.log(Retrying(0.0, slave, 1.0, 1, "nothing was received for 3 s", None), closing=False)
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    log.log(SlaveUp(0.0, slave), closing=False)
    log.log(SlaveDown(0.0, slave, "nothing was received for 3 s"), closing=False)
    assert [record.levelno for record in caplog.records] == [logging.WARNING, logging.INFO, logging.WARNING]
