"""UUCP lock files."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import stat
import struct
import subprocess
import sys
import threading
import time

import pytest

from eqlbond import ConfigurationError, DeviceBusy
from eqlbond.lock import EMPTY_AGE, LockFailed, LockHeld, UucpLock, lock_names, read_lock


@pytest.fixture
def dead():
    """The id of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


@pytest.fixture
def other():
    """A process that lives."""
    process = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(b"x")
    process.stdin.flush()
    process.stdout.read(1)  # it runs
    yield process
    process.stdin.close()
    process.stdout.close()
    process.kill()
    process.wait()


def test_the_file_and_its_removal(tmp_path):
    with UucpLock("/dev/ttyS77", tmp_path) as lock:
        path = tmp_path / "LCK..ttyS77"
        assert lock.paths == (str(path),)
        assert path.read_bytes() == b"%10d\n" % os.getpid()
        assert len(path.read_bytes()) == 11
        assert stat.S_IMODE(path.stat().st_mode) & 0o444 == 0o444
        assert os.listdir(tmp_path) == ["LCK..ttyS77"]
        assert lock.held
        with pytest.raises(LockHeld, match="this process"):
            lock.acquire()
        with pytest.raises(LockHeld, match="this process"):
            UucpLock("/dev/ttyS77", tmp_path).acquire()
    assert os.listdir(tmp_path) == []
    assert not lock.held
    lock.release()


@pytest.mark.parametrize(
    ("device", "names"),
    [
        ("/dev/ttyS77", ["ttyS77"]),
        ("/dev/ttyUSB77", ["ttyUSB77"]),
        ("/dev/pts/9999", ["pts_9999", "9999"]),
        ("/dev/serial/by-id/usb-x", ["serial_by-id_usb-x", "usb-x"]),
        ("/tmp/ttyV0", ["ttyV0"]),
    ],
)
def test_names(device, names):
    assert lock_names(device) == tuple(f"LCK..{name}" for name in names)


def test_a_symbolic_link_is_locked_under_both_names(tmp_path):
    (tmp_path / "modem").symlink_to("/dev/null")
    assert lock_names(str(tmp_path / "modem")) == ("LCK..null", "LCK..modem")
    with UucpLock(str(tmp_path / "modem"), tmp_path):
        with pytest.raises(LockHeld):
            UucpLock("/dev/null", tmp_path).acquire()
        assert {"LCK..null", "LCK..modem"} <= set(os.listdir(tmp_path))


def test_all_names_or_none(tmp_path, other):
    (tmp_path / "LCK..9999").write_bytes(b"%10d\n" % other.pid)
    with pytest.raises(LockHeld):
        UucpLock("/dev/pts/9999", tmp_path).acquire()
    assert os.listdir(tmp_path) == ["LCK..9999"]


@pytest.mark.parametrize(
    "content",
    [
        lambda pid: b"%10d\n" % pid,
        lambda pid: b"%d" % pid,
        lambda pid: b"%010d\n" % pid,
        lambda pid: b"%10d minicom root\n" % pid,
        lambda pid: struct.pack("i", pid),
    ],
)
def test_a_live_holder_is_named(tmp_path, other, content):
    path = tmp_path / "LCK..ttyS77"
    path.write_bytes(content(other.pid))
    with pytest.raises(DeviceBusy) as raised:
        UucpLock("/dev/ttyS77", tmp_path).acquire()
    error = raised.value
    assert isinstance(error, LockHeld)
    assert (error.pid, error.program, error.path) == (other.pid, "cat", str(path))
    assert f"cat (process {other.pid})" in str(error)
    assert path.exists()


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (lambda pid: b"%10d\n" % pid, "dead"),
        (lambda pid: struct.pack("i", pid), "dead"),
        (lambda pid: b"what is this?\n", "without a process id"),
        (lambda pid: b"\0\0\0\0", "without a process id"),
        (lambda pid: b"-1\n", "without a process id"),
        (lambda pid: b"0\n", "without a process id"),
        (lambda pid: b"9999999999\n", "dead"),
        (lambda pid: b"\xff" * 5000, "without a process id"),
    ],
)
def test_a_stale_lock_is_taken_over_with_a_word_in_the_log(tmp_path, dead, content, word, caplog):
    (tmp_path / "LCK..ttyS77").write_bytes(content(dead))
    with caplog.at_level(logging.WARNING, "eqlbond.lock"), UucpLock("/dev/ttyS77", tmp_path):
        holder = read_lock(str(tmp_path / "LCK..ttyS77"))
        assert holder is not None
        assert holder.pid == os.getpid()
    assert word in caplog.text
    assert os.listdir(tmp_path) == []


def test_an_empty_lock_is_left_alone_until_it_is_old(tmp_path):
    path = tmp_path / "LCK..ttyS77"
    path.touch()
    with pytest.raises(LockHeld, match="not written its process id") as raised:
        UucpLock("/dev/ttyS77", tmp_path).acquire()
    assert raised.value.pid is None
    old = time.time() - EMPTY_AGE - 1
    os.utime(path, (old, old))
    with UucpLock("/dev/ttyS77", tmp_path) as lock:
        assert lock.held


def test_a_lock_renewed_between_look_and_deed_stays(tmp_path, dead, other, monkeypatch):
    path = tmp_path / "LCK..ttyS77"
    path.write_bytes(b"%10d\n" % dead)
    flock = fcntl.flock

    def renewed(file, how):
        new = tmp_path / "new"
        new.write_bytes(b"%10d\n" % other.pid)
        new.replace(path)
        flock(file, how)

    monkeypatch.setattr(fcntl, "flock", renewed)
    with pytest.raises(LockHeld) as raised:
        UucpLock("/dev/ttyS77", tmp_path).acquire()
    assert raised.value.pid == other.pid
    assert path.read_bytes() == b"%10d\n" % other.pid
    assert os.listdir(tmp_path) == ["LCK..ttyS77"]


def test_somebody_elses_file_is_not_removed_at_release(tmp_path, other):
    lock = UucpLock("/dev/ttyS77", tmp_path).acquire()
    path = tmp_path / "LCK..ttyS77"
    new = tmp_path / "new"
    new.write_bytes(b"%10d\n" % other.pid)
    new.replace(path)
    lock.release()
    assert path.exists()


def test_a_lock_with_our_own_id_that_nobody_here_holds_is_stale(tmp_path, caplog):
    # As after a container was killed and started again: its program has the id that it had before.
    path = tmp_path / "LCK..ttyS77"
    path.write_bytes(b"%10d\n" % os.getpid())
    with caplog.at_level(logging.WARNING, "eqlbond.lock"), UucpLock("/dev/ttyS77", tmp_path):
        assert f"an earlier process {os.getpid()}" in caplog.text
        with pytest.raises(LockHeld, match="this process"):
            UucpLock("/dev/ttyS77", tmp_path).acquire()
    assert os.listdir(tmp_path) == []


def test_a_lock_of_ours_is_known_by_another_name_of_the_directory(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    with UucpLock("/dev/ttyS77", tmp_path / "real"), pytest.raises(LockHeld, match="this process"):
        UucpLock("/dev/ttyS77", tmp_path / "link").acquire()


def test_threads_that_take_it_in_turns_exclude_each_other(tmp_path):
    inside: list[None] = []
    turns: list[int] = []

    def take():
        while len(turns) < 100:
            with contextlib.suppress(LockHeld, LockFailed), UucpLock("/dev/ttyS77", tmp_path):
                inside.append(None)
                turns.append(len(inside))
                time.sleep(0)
                inside.pop()

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(turns) == {1}
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("whose", ["a dead process's", "ours, of an earlier process"] * 10)
def test_one_of_many_threads_gets_it(tmp_path, dead, whose):
    (tmp_path / "LCK..ttyS77").write_bytes(b"%10d\n" % (os.getpid() if whose.startswith("ours") else dead))
    won, barrier = [], threading.Barrier(8)

    def contend():
        lock = UucpLock("/dev/ttyS77", tmp_path)
        barrier.wait()
        with contextlib.suppress(LockHeld):
            won.append(lock.acquire())

    threads = [threading.Thread(target=contend) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    won[0].release()
    assert os.listdir(tmp_path) == []


SCRIPT = """
import os, sys
from eqlbond.lock import UucpLock
UucpLock("/dev/ttyS77", sys.argv[1]).acquire()
if sys.argv[2] == "fork" and os.fork() == 0:
    sys.exit()
if sys.argv[2] == "fork":
    os.wait()
    assert os.listdir(sys.argv[1]) == ["LCK..ttyS77"]
if sys.argv[2] == "raise":
    raise SystemExit(3)
"""


@pytest.mark.parametrize("way", ["end", "raise", "fork"])
def test_released_when_the_interpreter_exits(tmp_path, way):
    process = subprocess.run([sys.executable, "-c", SCRIPT, tmp_path, way], check=False)
    assert process.returncode == (3 if way == "raise" else 0)
    assert os.listdir(tmp_path) == []


def test_a_directory_that_cannot_be_written(tmp_path):
    with pytest.raises(LockFailed, match="No such file") as raised:
        UucpLock("/dev/ttyS77", tmp_path / "none").acquire()
    assert raised.value.device == "/dev/ttyS77"
    with pytest.raises(ConfigurationError, match="lock"):
        UucpLock("/dev/ttyS77", "")
