"""Hooks: real processes, small and quick."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import re
import sys
import time
from collections.abc import Callable
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest

from eqlbond import ConfigurationError, HookFailed, IpOptions, Master, Ppp
from eqlbond import hooks as hooks_module
from eqlbond.hooks import HookRunner, Hooks
from tests.aio.conftest import open_descriptors
from tests.aio.memory import Cable, cables

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="commands of a UNIX shell")


async def until(condition: Callable[[], object], patience: float = 20.0) -> None:
    async with asyncio.timeout(patience):
        while not condition():
            await asyncio.sleep(0.01)


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def write_to(path: Path, words: str) -> str:
    return f'echo "{words}" >> {path}'


async def test_the_arguments_of_ip_up(tmp_path: Path) -> None:
    log = tmp_path / "log"
    line = Cable()
    master = Master([line.a.slave(57600, name="ttyS0")])
    hooks = Hooks(
        bond_up=write_to(log, "bond up <$1> <$2> <$3> <$4> <$5>"),
        bond_down=write_to(log, "bond down $EQLBOND_EVENT $EQLBOND_REASON $EQLBOND_SLAVES_UP"),
        slave_up=write_to(log, "up $1 $2 $3 $4 $5 $EQLBOND_SLAVE $COLOUR"),
        slave_down=write_to(log, "down $1 $2 $3 $EQLBOND_REASON"),
    )
    runner = HookRunner(
        master, hooks, interface="eql0", local="10.0.0.1", remote="10.0.0.2", environment={"COLOUR": "blue"}
    )
    async with runner, master:
        await until(lambda: len(lines(log)) == 2)
    assert sorted(lines(log)) == [
        "bond down bond_down ttyS0: closed 0",
        "bond up <eql0> <> <57600> <10.0.0.1> <10.0.0.2>",
        "down eql0 ttyS0 57600 closed",
        "up eql0 ttyS0 57600 10.0.0.1 10.0.0.2 ttyS0 blue",
    ]


async def test_addresses_of_ppp_also_when_it_has_ended(tmp_path: Path) -> None:
    log = tmp_path / "log"
    line = Cable()
    ours, theirs = IPv4Address("10.1.0.1"), IPv4Address("10.1.0.2")
    near = Master([line.a.slave(framing=Ppp(ip=IpOptions(local=ours)))])
    far = Master([line.b.slave(framing=Ppp(ip=IpOptions(local=theirs)))])
    words = "$EQLBOND_EVENT $EQLBOND_LOCAL $EQLBOND_REMOTE"
    runner = HookRunner(near, Hooks(slave_up=write_to(log, words), slave_down=write_to(log, words)))
    async with runner, far, near:
        await near.wait_open(20)
        await until(lambda: lines(log))
    assert lines(log) == [f"slave_up {ours} {theirs}", f"slave_down {ours} {theirs}"]


@pytest.mark.parametrize("fails", [False, True])
async def test_what_a_command_builds_on_is_waited_for(
    tmp_path: Path, fails: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, logger="eqlbond")
    log = tmp_path / "log"
    order = asyncio.Event()

    async def settled() -> None:
        await order.wait()
        assert not lines(log)
        log.write_text("the addresses are there\n")
        if fails:
            raise OSError("no such interface")

    master = Master([Cable().a.slave()])
    hooks = Hooks(slave_up=write_to(log, "up $EQLBOND_LOCAL6 $EQLBOND_REMOTE6"), slave_down=write_to(log, "down"))
    async with HookRunner(master, hooks, local6="fd77::1", remote6="fd77::2", before_up=settled), master:
        await asyncio.sleep(0.05)
        order.set()
        await until(lambda: len(lines(log)) == 2)
    assert lines(log) == ["the addresses are there", "up fd77::1 fd77::2", "down"]
    assert ("no such interface" in caplog.text) == fails


async def test_a_list_is_run_without_a_shell(tmp_path: Path) -> None:
    out = tmp_path / "out"
    program = "import sys; open(sys.argv[1], 'w').write(repr(sys.argv[2:]))"
    line = Cable()
    master = Master([line.a.slave(9600, name="$(touch /tmp/x); `id`")])
    async with HookRunner(master, Hooks(slave_up=[sys.executable, "-c", program, str(out), "*"])), master:
        await until(lambda: lines(out))
    assert out.read_text() == repr(["*", "", "$(touch /tmp/x); `id`", "9600", "", ""])


async def test_a_name_is_no_command_in_a_shell_line_either(tmp_path: Path) -> None:
    log = tmp_path / "log"
    master = Master([Cable().a.slave(name="$(echo pwned)")])
    async with HookRunner(master, Hooks(slave_up=write_to(log, "$2"))), master:
        await until(lambda: lines(log))
    assert lines(log) == ["$(echo pwned)"]


@pytest.mark.parametrize(
    ("command", "problem"),
    [
        (["/nonexistent/hook"], "cannot be run: No such file or directory"),
        (["/etc/passwd"], "cannot be run: Permission denied"),
        ("exit 3", "failed with status 3"),
        ("echo first; echo it is broken >&2; exit 1", "failed with status 1: it is broken"),
        ("kill -9 $$", "was ended by signal 9"),
        ("/nonexistent/hook", "failed with status 127"),
        ("echo working; sleep 60", "took longer than 0.3 s, and was ended: working"),
        ("trap '' TERM; sleep 60 & wait; sleep 60", "took longer than 0.3 s, and was ended"),
    ],
)
async def test_hooks_that_fail_are_reported_and_block_nothing(command: Any, problem: str) -> None:
    line = Cable()
    far = Master([line.b.slave()])
    master = Master([line.a.slave()])
    before = open_descriptors()
    began = time.monotonic()
    async with far, HookRunner(master, Hooks(slave_up=command, timeout=0.3)), master:
        events = master.events()
        await master.send(b"at once")
        async with asyncio.timeout(5):
            assert (await far.receive()).payload == b"at once"
        async with asyncio.timeout(20):
            while not isinstance(event := await anext(events), HookFailed):
                pass
        assert event.hook == "slave_up"
        assert event.problem.startswith(problem)
    assert time.monotonic() - began < 20
    assert open_descriptors() <= before


async def test_what_a_hook_prints_is_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "eqlbond.hooks")
    master = Master([Cable().a.slave()])
    hooks = Hooks(slave_up="printf 'one\\ntwo'; printf 'three\\n' >&2; head -c 5000 /dev/zero | tr '\\0' x; seq 5000")
    async with HookRunner(master, hooks), master:
        pass
    assert caplog.messages[:2] == ["slave_up: one", "slave_up: twothree"]
    assert max(map(len, caplog.messages)) < 1100
    assert len(caplog.messages) == 201
    assert re.fullmatch("slave_up: and 48.. lines more", caplog.messages[-1])


async def test_a_child_left_in_the_background_is_not_waited_for() -> None:
    master = Master([Cable().a.slave()])
    before = open_descriptors()
    began = time.monotonic()
    async with HookRunner(master, Hooks(slave_up="sleep 5 & exit 0", timeout=20)), master:
        await asyncio.sleep(0.1)
    assert time.monotonic() - began < 4
    assert open_descriptors() <= before


async def test_a_child_in_the_background_may_print(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "eqlbond.hooks")
    done = tmp_path / "done"
    master = Master([Cable().a.slave()])
    async with HookRunner(master, Hooks(slave_up=f"(sleep 0.5; echo x; echo y >&2; touch {done}) &")), master:
        await until(done.exists, 10)
        await until(lambda: caplog.messages == ["slave_up: x", "slave_up: y"])


async def test_a_child_in_the_background_is_not_read_without_end(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(hooks_module, "_MOST_AFTERWARDS", 100_000)
    caplog.set_level(logging.WARNING, "eqlbond.hooks")
    master = Master([Cable().a.slave()])
    async with HookRunner(master, Hooks(slave_up="(sleep 0.3; exec yes) &")), master:
        before = open_descriptors()
        await until(lambda: caplog.messages)
        assert caplog.messages == ["slave_up: what it has left in the background prints too much: not read any more"]
        await until(lambda: open_descriptors() <= before)


async def test_pipes_to_children_in_the_background_do_not_pile_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hooks_module, "_MOST_LEFT_OPEN", 2)
    slaves = [line.a.slave(name=f"line {number}") for number, line in enumerate(cables(5))]
    master = Master(slaves)
    before = len(open_descriptors())
    async with HookRunner(master, Hooks(slave_up="sleep 3 &")) as runner, master:
        await until(lambda: len(runner._left_open) == 2 and not runner._workers)
        await until(lambda: len(open_descriptors()) == before + 2)
    assert len(open_descriptors()) == before


async def test_too_many_open_files_cost_that_hook_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "log"
    pipe = os.pipe

    def full() -> tuple[int, int]:
        monkeypatch.setattr(os, "pipe", pipe)
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(os, "pipe", full)
    master = Master([Cable().a.slave()])
    events = master.events()
    async with HookRunner(master, Hooks(slave_up="true", slave_down=write_to(log, "down"))), master:
        async with asyncio.timeout(10):
            while not isinstance(event := await anext(events), HookFailed):
                pass
    assert (event.hook, event.problem) == ("slave_up", "cannot be run: Too many open files")
    assert lines(log) == ["down"]


async def test_cancelled_before_the_command_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    reached = asyncio.Event()

    async def never(*arguments: object) -> None:
        reached.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(asyncio.get_running_loop(), "connect_read_pipe", never)
    master = Master([Cable().a.slave()])
    before = open_descriptors()

    async def bond() -> None:
        async with HookRunner(master, Hooks(slave_up="true")), master:
            await reached.wait()

    task = asyncio.ensure_future(bond())
    await reached.wait()
    await asyncio.sleep(0.1)  # the bond is closed, the runner waits for the command
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert open_descriptors() <= before


async def test_order_is_kept_and_a_flapping_line_does_not_pile_up(tmp_path: Path) -> None:
    log = tmp_path / "log"
    line = Cable()
    master = Master([slave := line.a.slave()])
    word = 'sleep 0.1; echo "$EQLBOND_EVENT" >> ' + str(log)
    async with HookRunner(master, Hooks(slave_up=word, slave_down=word)), master:
        for _ in range(200):
            assert line.a.transport is not None
            line.a.transport.fail(OSError("flap"))
            async with asyncio.timeout(20):
                while slave.up:
                    await asyncio.sleep(0)
            await asyncio.sleep(0)
            await master.reopen(slave)
        await until(lambda: len(lines(log)) >= 3)
    heard = lines(log)
    assert len(heard) < 100
    assert heard == ["slave_up", "slave_down"] * (len(heard) // 2)


async def test_one_slave_does_not_wait_for_another_ones_hook(tmp_path: Path) -> None:
    log = tmp_path / "log"
    one, other = cables(2)
    master = Master([one.a.slave(name="slow"), other.a.slave(name="quick")])
    hooks = Hooks(slave_up=f'[ "$2" = slow ] && sleep 1; echo "$2" >> {log}', timeout=10)
    async with HookRunner(master, hooks), master:
        await until(lambda: len(lines(log)) == 2)
    assert lines(log) == ["quick", "slow"]


async def test_a_line_that_cannot_be_opened_has_no_down_hook(tmp_path: Path) -> None:
    log = tmp_path / "log"
    up, never = cables(2)
    never.a.error = OSError("no")
    master = Master([up.a.slave(name="up"), never.a.slave(name="never")])
    async with HookRunner(master, Hooks(slave_up=write_to(log, "$2"), slave_down=write_to(log, "$2"))), master:
        pass
    assert set(lines(log)) <= {"up"}


async def test_cancelling_ends_the_command(tmp_path: Path) -> None:
    log = tmp_path / "log"
    master = Master([Cable().a.slave()])

    async def bond() -> None:
        async with HookRunner(master, Hooks(slave_up=f"echo $$ > {log}; sleep 60", timeout=50)), master:
            await asyncio.sleep(60)

    task = asyncio.ensure_future(bond())
    await until(lambda: lines(log))
    task.cancel()
    await asyncio.sleep(0.2)  # the bond is closed, the runner waits for the command
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    with pytest.raises(ProcessLookupError):
        os.kill(int(lines(log)[0]), 0)


@pytest.mark.parametrize(
    ("field", "make"),
    [
        ("bond_up", lambda: Hooks(bond_up="")),
        ("slave_up", lambda: Hooks(slave_up=[])),
        ("slave_down", lambda: Hooks(slave_down=["a", 5])),  # type: ignore[list-item]
        ("slave_down", lambda: Hooks(slave_down="a\0b")),
        ("bond_down", lambda: Hooks(bond_down=5)),  # type: ignore[arg-type]
        ("timeout", lambda: Hooks(timeout=0)),
        ("hooks", lambda: HookRunner(Master(), "true")),  # type: ignore[arg-type]
        ("master", lambda: HookRunner(None, Hooks())),  # type: ignore[arg-type]
        ("environment", lambda: HookRunner(Master(), Hooks(), environment={"A=B": "c"})),
    ],
)
def test_wrong_values_are_named(field: str, make: Callable[[], object]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        make()
    assert caught.value.field == field
