"""Calls over modems in memory, on a virtual clock: every result, logins, silence, hang-ups, cancellation."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from eqlbond import ConfigurationError, DeviceBusy, LineError, Master, SerialSlave, Slave, SlaveDown
from eqlbond.aio.slave import LINE_INFO, LineInfo
from eqlbond.modem import (
    AnsweringModem,
    Ask,
    Busy,
    CallBarred,
    ChatScript,
    CommandRefused,
    DialTimeout,
    HungUp,
    Login,
    LoginPrompt,
    LoginRefused,
    Modem,
    ModemSilent,
    NoAnswer,
    NoCarrier,
    NoDialtone,
    ScriptTimeout,
    Secret,
    Transcript,
    Voice,
)
from eqlbond.modem.testing import Exchange, FakeHost, FakeModem
from tests.aio.memory import virtual

RESULTS = {
    "BUSY": Busy,
    "VOICE": Voice,
    "NO CARRIER": NoCarrier,
    "NO ANSWER": NoAnswer,
    "NO DIALTONE": NoDialtone,
    "NO DIAL TONE": NoDialtone,
    "DELAYED": CallBarred,
    "BLACKLISTED": CallBarred,
    "BLACKLIST FULL": CallBarred,
    "ERROR": CommandRefused,
}


class Sink(asyncio.Protocol):
    """A slave's protocol that keeps what it is given."""

    def __init__(self):
        self.transport = None
        self.data = b""
        self.lost = asyncio.get_running_loop().create_future()

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.data += data

    def connection_lost(self, exc):
        self.lost.set_result(exc)


async def call(modem, line, **options):
    sink = Sink()
    transport, protocol = await modem.connect(line.connect, "line")(lambda: sink)
    assert protocol is sink
    assert sink.transport is transport
    return sink


def now():
    return asyncio.get_running_loop().time()


@pytest.mark.parametrize("dtr", [False, True])
@pytest.mark.parametrize("result", RESULTS)
@virtual
async def test_each_result_has_its_exception(result, dtr):
    line = FakeModem(Exchange({"1": result}), "me", dtr=dtr)
    with pytest.raises(LineError) as raised:
        await call(Modem(dial="1"), line)
    assert type(raised.value) is RESULTS[result]
    assert raised.value.device == "line"
    assert result in str(raised.value)
    assert line._port is None  # the port is closed
    assert now() < 3


@virtual
async def test_no_result_at_all():
    line = FakeModem(Exchange({"1": None}), "me")
    with pytest.raises(DialTimeout, match="within 90 s"):
        await call(Modem(dial="1"), line)
    assert 90 <= now() < 95
    assert line.state == "command"


@virtual
async def test_a_silent_modem():
    line = FakeModem(Exchange(), "me", silent=True)
    with pytest.raises(ModemSilent, match="'AT' within 5 s"):
        await call(Modem(dial="1"), line)
    assert now() < 20


@virtual
async def test_a_command_is_refused():
    line = FakeModem(Exchange(), "me", refuse={"&C1"})
    with pytest.raises(CommandRefused, match="ATE0V1Q0X4&C1&D2S0=0"):
        await call(Modem(dial="1"), line)


@pytest.mark.parametrize("init", ["ATZ", ["ATZ", "ATV0"], ["ATZ", "ATE1V1", "AT&C1&D2W1L1S0=0%E2"]])
@virtual
async def test_echo_numbers_and_garbage(init):
    host = FakeHost()
    line = FakeModem(Exchange(hosts={"1": host}), "me", garbage=b"\x7f~x\xff\r\n")
    sink = await call(Modem(dial="1", init=init, login=Login("Pname", "password")), line)
    assert host.asked == ["Pname", "password"]
    sink.transport.abort()
    await sink.lost


@virtual
async def test_what_the_line_tells():
    exchange = Exchange(hosts={"1": FakeHost()}, report=["CARRIER 28800", "PROTOCOL: LAP-M", "CONNECT 115200"])
    sink = await call(Modem(dial="1"), FakeModem(exchange, "me"))
    info = sink.transport.get_extra_info(LINE_INFO)
    assert (info.rate, info.bits_per_byte, info.description) == (28800, 8, "CONNECT 115200")
    sink.transport.close()
    await sink.lost


@virtual
async def test_a_login_and_not_a_byte_lost_after_it():
    host = FakeHost(ready="\xc0first packet")
    line = FakeModem(Exchange(hosts={"1": host}), "me")
    sink = await call(Modem(dial="1", login=Login("Pname", "password")), line)
    sink.transport.write(b"hello")
    await asyncio.sleep(0.1)
    assert sink.data == b"\r\n" + "\xc0first packet".encode() + b"hello"
    sink.transport.close()
    assert await sink.lost is None
    assert line.state == "command"


@virtual
async def test_bytes_in_one_piece_with_connect_reach_the_slave():
    class Eager:
        def __init__(self, modem):
            modem.send(b"\r\nCONNECT 9600\r\n\xc0\n\xc0")

        def receive(self, data):
            pass

        def hung_up(self):
            pass

    sink = await call(Modem(dial="1"), FakeModem(Exchange(hosts={"1": Eager}, report=[]), "me"))
    assert sink.data == b"\xc0\n\xc0"
    sink.transport.abort()
    await sink.lost


@virtual
async def test_a_login_is_nudged():
    class Sleepy(FakeHost):
        def connected_to(self, modem):
            self.stage = "login"

    host = Sleepy()
    await call(Modem(dial="1", login=Login("Pname", "password")), FakeModem(Exchange(hosts={"1": host}), "me"))
    assert host.asked == ["", "Pname", "password"]


@pytest.mark.parametrize(
    ("host", "error", "text"),
    [
        (FakeHost("Pname", "other"), LoginRefused, "incorrect"),
        (FakeHost(hang_up_at="login"), NoCarrier, "ogin"),
        (FakeHost(hang_up_at="password"), NoCarrier, "assword"),
        (FakeHost(garbage=b"\0\xff{" * 3000), ScriptTimeout, "welcome"),
    ],
)
@virtual
async def test_logins_that_fail(host, error, text):
    line = FakeModem(Exchange(hosts={"1": host}), "me")
    transcript = Transcript()
    modem = Modem(dial="1", login=Login("Pname", "password", ready="welcome"), transcript=transcript)
    with pytest.raises(error, match=text) as raised:
        await call(modem, line)
    assert "password" not in str(raised.value).replace("assword:", "")
    assert "> password" not in str(transcript)
    assert line.state == "command"
    assert line._port is None


@virtual
async def test_steps_of_ones_own():
    host = FakeHost(ready="service? ")
    line = FakeModem(Exchange(hosts={"1": host}), "me")
    steps = [Ask("ogin:", "Pname"), Ask("assword:", Secret("password")), Ask("service?", "slip", end="\r\n")]
    sink = await call(Modem(dial="1", login=steps), line)
    await asyncio.sleep(0.1)
    assert sink.data == b"slip\r\n"


@virtual
async def test_a_chat_script_makes_the_call():
    script = ChatScript(r"ABORT BUSY '' ATZ OK ATDT\T CONNECT \c ogin: Pname ssword: password", phone="1")
    host = FakeHost()
    sink = await call(Modem(script=script), FakeModem(Exchange(hosts={"1": host}), "me"))
    assert host.asked == ["Pname", "password"]
    assert sink.transport.get_extra_info(LINE_INFO).rate == 33600
    with pytest.raises(Busy):
        await call(Modem(script=script), FakeModem(Exchange({"1": "BUSY"}), "me"))


@pytest.mark.parametrize("dtr", [False, True])
@virtual
async def test_closing_hangs_up(dtr):
    exchange = Exchange(hosts={"1": FakeHost()})
    line = FakeModem(exchange, "me", dtr=dtr)
    sink = await call(Modem(dial="1"), line)
    assert line.state == "online"
    began = now()
    sink.transport.close()
    sink.transport.write(b"too late")
    await sink.lost
    assert line.state == "command"
    assert sink.data.find(b"NO CARRIER") < 0
    assert (line.commands[-1] == "ATH") is not dtr
    assert now() - began < 3


@virtual
async def test_a_modem_that_does_not_hang_up_is_left_in_time():
    line = FakeModem(Exchange(hosts={"1": FakeHost()}), "me")
    sink = await call(Modem(dial="1", hangup_timeout=1.5), line)
    line.silent = True
    began = now()
    sink.transport.close()
    await sink.lost
    assert now() - began < 1.6


@virtual
async def test_abort_a_second_time_is_at_once():
    line = FakeModem(Exchange(hosts={"1": FakeHost()}), "me")
    sink = await call(Modem(dial="1"), line)
    sink.transport.abort()
    sink.transport.abort()
    began = now()
    await sink.lost
    assert now() == began


@virtual
async def test_the_far_end_hangs_up():
    line = FakeModem(Exchange(hosts={"1": FakeHost()}), "me")
    sink = await call(Modem(dial="1"), line)
    line.drop_call()
    error = await asyncio.wait_for(sink.lost, 5)
    assert isinstance(error, HungUp)


@virtual
async def test_no_carrier_in_the_middle_of_data_is_data():
    line = FakeModem(Exchange(hosts={"1": FakeHost()}), "me")
    sink = await call(Modem(dial="1"), line)
    line.send(b"\r\nNO CARRIER\r\n")
    await asyncio.sleep(0.5)
    line.send(b"\xc0")
    await asyncio.sleep(5)
    assert not sink.lost.done()


@virtual
async def test_a_line_that_is_closed_at_the_login_is_free_before_it_is_opened_again():
    line = FakeModem(Exchange(hosts={"1": FakeHost()}), "me")

    async def port(factory):
        if line._port is not None:
            raise DeviceBusy("line", "in use")
        return await line.connect(factory)

    modem = Modem(dial="1", login=Login("Pname", "password", ready="never"), guard_time=2.0)
    async with Master([slave := Slave(modem.connect(port, "line"))], open_lines=False) as master:
        opening = asyncio.ensure_future(master.reopen(slave))
        await asyncio.sleep(5)
        assert line.state == "online"
        line.silent = True  # so that hanging up takes all the time that it may
        master.hang_up(slave)
        began = now()
        with pytest.raises(ModemSilent):
            await master.reopen(slave)
        assert now() - began > 7
        with pytest.raises(LineError, match="while it was opened"):
            await opening


@pytest.mark.parametrize("seconds", [0.001, 0.01, 0.02, 0.03, 0.05, 0.1, 1.0, 10.0])
@pytest.mark.parametrize("dtr", [False, True])
@virtual
async def test_cancelled_anywhere_the_line_is_free_again(seconds, dtr):
    exchange = Exchange({"2": None}, hosts={"1": FakeHost(hang_up_at="never")}, delay=0.05)
    line = FakeModem(exchange, "me", dtr=dtr)
    task = asyncio.ensure_future(call(Modem(dial="1", login=Login("Pname", "password", ready="never")), line))
    await asyncio.sleep(seconds)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert line.state == "command"
    assert line._port is None
    sink = await call(Modem(dial="1"), line)
    sink.transport.close()
    await sink.lost


@virtual
async def test_answering_after_rings_and_asking_the_caller():
    exchange = Exchange(ring=5)
    here, there = FakeModem(exchange, "100"), FakeModem(exchange, "200")
    seen = Transcript()
    prompt = LoginPrompt({"Pname": "hunter2"}, banner="Hello")
    answering = asyncio.ensure_future(call(AnsweringModem(rings=3, login=prompt, transcript=seen), there))
    await asyncio.sleep(3600)
    caller = await call(Modem(dial="200", login=Login("Pname", "hunter2")), here)
    assert now() > 3610
    answerer = await answering
    caller.transport.write(b"ping")
    answerer.transport.write(b"pong")
    await asyncio.sleep(0.1)
    assert (caller.data, answerer.data) == (b"pong", b"ping")
    assert "hunter2" not in str(seen)
    assert "Pname has logged in" in str(seen)
    caller.transport.close()
    assert isinstance(await answerer.lost, HungUp)
    assert await caller.lost is None


@virtual
async def test_a_caller_with_the_wrong_password():
    exchange = Exchange()
    here, there = FakeModem(exchange, "100"), FakeModem(exchange, "200")
    prompt = LoginPrompt(lambda name: {"Pname": "x"}[name], attempts=2)
    answering = asyncio.ensure_future(call(AnsweringModem(login=prompt), there))
    await asyncio.sleep(1)
    with pytest.raises(LoginRefused):
        await call(Modem(dial="200", login=Login("Nobody", "hunter2", ready="go")), here)
    with pytest.raises((LoginRefused, NoCarrier)):
        await answering


@virtual
async def test_auto_answer_waits_on_after_a_call_that_failed():
    exchange = Exchange()
    here, there = FakeModem(exchange, "100"), FakeModem(exchange, "200")
    answering = asyncio.ensure_future(call(AnsweringModem(auto=True, rings=2), there))
    await asyncio.sleep(1)
    assert there.rings_to_answer == 2
    there.send(b"\r\nNO CARRIER\r\n")
    caller = await call(Modem(dial="200"), here)
    answerer = await answering
    answerer.transport.close()
    await answerer.lost
    assert there.rings_to_answer == 0
    assert isinstance(await caller.lost, HungUp)


@virtual
async def test_no_call_comes():
    with pytest.raises(DialTimeout, match="no call within 60 s"):
        await call(AnsweringModem(wait=60), FakeModem(Exchange(), "me"))


@virtual
async def test_a_port_that_goes_in_the_middle():
    line = FakeModem(Exchange({"1": None}), "me")
    task = asyncio.ensure_future(call(Modem(dial="1"), line))
    await asyncio.sleep(1)
    assert line._port is not None
    line._port.abort()
    with pytest.raises(HungUp, match="middle of the dialogue"):
        await task


# -- slaves and masters


@virtual
async def test_a_slave_learns_rate_and_bits_unless_it_was_told():
    exchange = Exchange(hosts={"1": FakeHost()})
    lines = [FakeModem(exchange, str(n)) for n in range(3)]
    modem = Modem(dial="1")
    told: list[dict[str, Any]] = [{}, {"rate": 9600.0}, {"bits_per_byte": 10.0}]
    slaves = [Slave(modem.connect(line.connect), **kw) for line, kw in zip(lines, told, strict=True)]
    async with Master(slaves) as master:
        stats = [(slave.rate, slave.member.line.bits_per_byte) for slave in slaves]
        assert stats == [(33600, 8), (9600, 8), (33600, 10)]
        assert slaves[0].priority == 33600
        exchange.report = ("CONNECT 14400",)
        lines[0].drop_call()
        await asyncio.sleep(3)
        assert not slaves[0].up
        await master.reopen(slaves[0])
        assert (slaves[0].rate, slaves[0].member.line.bits_per_byte) == (14400, 10)
        master.set_rate(slaves[0], 2400)
        lines[0].drop_call()
        await asyncio.sleep(3)
        await master.reopen(slaves[0])
        assert slaves[0].rate == 2400
    assert [line.state for line in lines] == ["command"] * 3


@virtual
async def test_a_master_whose_calls_fail_says_why():
    exchange = Exchange({"1": "BUSY"}, hosts={"2": FakeHost()})
    lines = [FakeModem(exchange, "a"), FakeModem(exchange, "b")]
    slaves = [Slave(Modem(dial=str(n + 1)).connect(line.connect, "x")) for n, line in enumerate(lines)]
    master = Master(slaves)
    events = master.events()
    async with master:
        assert [slave.up for slave in slaves] == [False, True]
    downs = [event async for event in events if isinstance(event, SlaveDown)]
    assert isinstance(downs[0].error, Busy)


def test_the_rate_is_no_more_than_the_port_carries():
    slave = SerialSlave("/dev/ttyS0", 38400)
    assert slave.learn(LineInfo(64000, 8)) == (30720, 8)
    assert slave.learn(LineInfo(28800, 8)) == (28800, 8)
    assert slave.learn(LineInfo()) == (38400, 10)
    assert SerialSlave("/dev/ttyS0", 38400, rate=None).learn(LineInfo(28800, 8)) == (None, 8)


WRONG: Any = 5
A_CLASS: Any = Modem


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: Modem(), "dial"),
        (lambda: Modem(dial=""), "dial"),
        (lambda: Modem(dial="555\r"), "dial"),
        (lambda: Modem(dial="1", script=ChatScript("")), "dial"),
        (lambda: Modem(script=WRONG), "script"),
        (lambda: Modem(dial="1", init="Z"), "init"),
        (lambda: Modem(dial="1", init=["ATZ\rATD2"]), "init"),
        (lambda: Modem(dial="1", prefix="ATX"), "prefix"),
        (lambda: Modem(dial="1", dial_timeout=0), "dial_timeout"),
        (lambda: Modem(dial="1", guard_time=-1), "guard_time"),
        (lambda: Modem(dial="1", hangup_timeout=float("nan")), "hangup_timeout"),
        (lambda: Modem(dial="1", login=WRONG), "login"),
        (lambda: Modem(dial="1", login=[WRONG]), "login"),
        (lambda: Modem(dial="1", transcript=[WRONG]), "transcript"),
        (lambda: AnsweringModem(rings=0), "rings"),
        (lambda: AnsweringModem(wait=0), "wait"),
        (lambda: Login("a", WRONG), "secret"),
        (lambda: Ask("a", WRONG), "send"),
        (lambda: Ask("a", timeout=0), "timeout"),
        (lambda: LoginPrompt(WRONG), "secrets"),
        (lambda: LoginPrompt({}, attempts=0), "attempts"),
        (lambda: SerialSlave("/dev/ttyS0", modem=A_CLASS), "modem"),
        (lambda: SerialSlave("/dev/ttyS0", modem=WRONG), "modem"),
        (lambda: SerialSlave("/dev/ttyS0", lock=WRONG), "lock"),
        (lambda: SerialSlave("/dev/ttyS0", lock=""), "lock"),
    ],
)
def test_bad_options(make, field):
    with pytest.raises(ConfigurationError) as raised:
        make()
    assert raised.value.field == field


def test_reprs_hide_secrets():
    login = Login("Pname", "hunter2")
    things = [login, login.steps, Secret("hunter2"), LoginPrompt({"a": "hunter2"}), Modem(dial="1", login=login)]
    assert "hunter2" not in repr(things)
