"""The configuration file: all that is good in it, and all that is wrong, at once."""

from __future__ import annotations

import sys
import types
from pathlib import Path

import pytest

from eqlbond import (
    Chap,
    EarliestDelivery,
    Hdlc,
    IpOptions,
    Ipv6Options,
    Kiss,
    Multilink,
    Pap,
    Ppp,
    RoundRobin,
    SerialSlave,
    Slip,
)
from eqlbond.aio.netline import NetworkSlave
from eqlbond.codec.options import EndpointDiscriminator
from eqlbond.config import Config, ConfigError, ConfigurationErrors
from eqlbond.config.load import read_slave_table
from eqlbond.core.fq_codel import FqCoDel
from eqlbond.core.half_duplex import HalfDuplex, HalfDuplexMember
from eqlbond.exceptions import ConfigurationError, EqlbondError
from eqlbond.modem import AnsweringModem, Modem
from eqlbond.tun import Route


def wrong(text: str, **environment: str) -> list[tuple[int | None, str, str]]:
    """What is wrong with a text: line, key and problem of each error."""
    with pytest.raises(ConfigurationErrors) as caught:
        Config.parse(text, name="bond.toml", environment=environment)
    errors = [error for error in caught.value.exceptions if isinstance(error, ConfigError)]
    assert len(errors) == len(caught.value.exceptions)
    return [(error.line, error.field, error.problem) for error in errors]


TEN = """\
[bond]
mtu = 70000
scheduler = { name = "earliest", hold = "nevr", grian = 0.01 }
shceduler = "eql"

[[slave]]
device = "/dev/ttyUSB0"
baudrate = -5
framing = "slipp"

[[slave]]
devcie = "/dev/ttyUSB1"
rtscts = "yes"

[tun]
addresses = ["10.0.0.1/33"]

[log]
level = "loud"
"""


def test_ten_errors_at_once_with_keys_and_lines() -> None:
    found = wrong(TEN)
    assert [(line, key) for line, key, _ in found] == [
        (2, "bond.mtu"),
        (3, "bond.scheduler.grian"),
        (3, "bond.scheduler.hold"),
        (4, "bond.shceduler"),
        (8, "slave[1].baudrate"),
        (9, "slave[1].framing"),
        (11, "slave[2]"),
        (12, "slave[2].devcie"),
        (13, "slave[2].rtscts"),
        (16, "tun.addresses[1]"),
        (19, "log.level"),
    ]
    problems = {key: problem for _, key, problem in found}
    assert problems["bond.mtu"] == "bytes from 68 to 65535, not 70000"
    assert "did you mean 'grain'?" in problems["bond.scheduler.grian"]
    assert "did you mean 'scheduler'?" in problems["bond.shceduler"]
    assert "did you mean 'slip'?" in problems["slave[1].framing"]
    assert "did you mean 'device'?" in problems["slave[2].devcie"]
    assert problems["slave[2].rtscts"] == "true or false, not 'yes'"
    assert "needs its device" in problems["slave[2]"]


def test_the_text_of_all_errors() -> None:
    with pytest.raises(ConfigurationErrors) as caught:
        Config.parse('[bond]\nmtu = 1\n[hook]\nup = "x"\n', name="bond.toml")
    assert str(caught.value) == (
        "bond.toml: 2 errors\n"
        "bond.toml:2: bond.mtu: bytes from 68 to 65535, not 1\n"
        "bond.toml:3: hook: no such key; did you mean 'hooks'?"
    )
    assert isinstance(caught.value, EqlbondError)
    some, rest = caught.value.split(lambda error: getattr(error, "line", 0) == 2)
    assert isinstance(some, ConfigurationErrors)
    assert rest is not None
    assert len(some.exceptions) == 1
    assert some.file == "bond.toml"
    assert all(isinstance(error, ConfigurationError) for error in rest.exceptions)


FULL = """\
[bond]
mtu = 1400
scheduler = { name = "earliest", hold = "strict", grain = 0.01 }
multilink = { mrru = 1600, short = true, endpoint = "site7", fragment = false, margin = 0.5 }
queue = { bytes = 100000, time = 1.5, target = 0.02, interval = 0.2, ecn = false, limit = 9000, quantum = 99 }
min_slaves = 2
max_slaves = 4
close_timeout = 2

[ppp]
mru = 1600
auth = { method = "pap", name = "site7", secret = { env = "SECRET" } }
require = ["chap", "pap"]
secrets = { hub = "hubsecret", other = { file = "other.txt" } }
ipv6 = true
ip = { local = "10.0.0.1", peer = "10.0.0.2", dns = "10.0.0.3", ask_dns = true }
accm = 0xA0000
name = "us"
rechallenge = 60
role = "answerer"
magic = false
pfc = false
acfc = false
fcs32 = false
endpoint = "mac:02:00:5e:10:00:01"
min_mtu = 500
min_mrru = 600
echo_interval = 5
echo_failure = 3
identification = "eqlbond"
restart = 1.5
max_configure = 20
max_terminate = 3
max_failure = 6
establish_timeout = 60

[[slave]]
name = "usb"
device = "/dev/ttyUSB0"
baudrate = 115200
rate = 33600
bits_per_byte = 8
latency = 0.1
priority = 7
mtu = 1500
framing = "ppp"
parity = "E"
stopbits = 2
rtscts = true
exclusive = false
low_latency = true
lock = "locks"
holdoff = 3
max_holdoff = 30
maxfail = 5
persist = false
carrier = false
stall = "off"

[slave.ppp]
mru = 1700
auth = { name = "site8", secret = "chapsecret" }
ip = false

[slave.ppp.ipv6]
interface_id = "fe80::1"
peer_interface_id = "fe80::2"

[slave.modem]
dial = "555-1212"
prefix = "ATDP"
init = "ATZ"
dial_timeout = 30
command_timeout = 2
guard_time = 0.5
pace = 0.01
hangup_timeout = 3
watch_carrier = false
login = { name = "Pname", password = { env = "SECRET" }, ready = "SLIP", timeout = 9, refusals = ["no"] }

[[slave]]
device = "/dev/ttyUSB1"
framing = "ppp"
rate = "unpaced"

[tun]
name = "bond0"
addresses = ["10.0.0.1/30", "fd00::1/64"]
peer = "10.0.0.2"
routes = ["192.168.7.0/24", { destination = "10.9.0.0/16", metric = 7 }]
namespace = "site"
default_route = true
mtu = 1300
mss_clamp = true
ecn = false

[hooks]
up = ["/etc/eqlbond/up", "x"]
slave_down = "logger down"
timeout = 5

[control]
socket = "/run/bond7.sock"

[log]
level = "debug"
file = "bond.log"
"""


def test_every_option(tmp_path: Path) -> None:
    (tmp_path / "other.txt").write_text("othersecret\n")
    (tmp_path / "bond.toml").write_text(FULL)
    config = Config.load(tmp_path / "bond.toml", {"SECRET": "envsecret"})
    bond = config.bond
    assert (bond.mtu, bond.min_slaves, bond.max_slaves, bond.close_timeout) == (1400, 2, 4, 2.0)
    scheduler = bond.scheduler.make()
    assert isinstance(scheduler, EarliestDelivery)
    assert (scheduler.hold, scheduler.grain) == ("strict", 0.01)
    assert bond.multilink == Multilink(
        mrru=1600, short=True, endpoint=EndpointDiscriminator.local("site7"), fragment=False, margin=0.5
    )
    assert (bond.queue.queue_bytes, bond.queue.queue_time) == (100000, 1.5)
    assert bond.queue.fair == FqCoDel(target=0.02, interval=0.2, ecn=False, limit=9000, quantum=99)
    first, second = config.slaves
    shared = {
        "require": ("chap", "pap"), "secrets": {"hub": "hubsecret", "other": "othersecret"}, "accm": 0xA0000,
        "name": "us", "rechallenge": 60, "role": "answerer", "magic": False, "pfc": False, "acfc": False,
        "fcs32": False, "endpoint": EndpointDiscriminator.mac("02:00:5e:10:00:01"), "min_mtu": 500, "min_mrru": 600,
        "echo_interval": 5, "echo_failure": 3, "identification": "eqlbond", "restart": 1.5, "max_configure": 20,
        "max_terminate": 3, "max_failure": 6, "establish_timeout": 60,
    }  # fmt: skip
    assert first.framing == Ppp(
        **shared,  # type: ignore[arg-type]
        mru=1700, auth=Chap("site8", "chapsecret"), ip=None, ipv6=Ipv6Options("fe80::1", "fe80::2"),
    )  # fmt: skip
    assert second.framing == Ppp(
        **shared,  # type: ignore[arg-type]
        mru=1600, auth=Pap("site7", "envsecret"), ipv6=Ipv6Options(),
        ip=IpOptions("10.0.0.1", "10.0.0.2", ["10.0.0.3"], True),
    )  # fmt: skip
    assert (second.name, second.rate) == ("/dev/ttyUSB1", None)
    made = first.make()
    assert isinstance(made, SerialSlave)
    assert (made.name, made.device, made.baudrate, made.rate, made.priority) == (
        "usb", "/dev/ttyUSB0", 115200, 33600, 7,
    )  # fmt: skip
    assert (made.member.line.bits_per_byte, made.member.line.latency, made.member.mtu_limit) == (8, 0.1, 1500)
    assert first.settings["lock"] == str(tmp_path / "locks")
    assert {key: first.settings[key] for key in ("parity", "stopbits", "rtscts", "exclusive", "low_latency")} == {
        "parity": "E", "stopbits": 2, "rtscts": True, "exclusive": False, "low_latency": True,
    }  # fmt: skip
    redial, watch = first.supervision.redial, first.supervision.watch
    assert (redial.holdoff, redial.max_holdoff, redial.maxfail, redial.persist) == (3, 30, 5, False)
    assert (watch.carrier, watch.stall) == (False, None)
    assert first.modem is not None
    modem = first.modem.make()
    assert isinstance(modem, Modem)
    assert (modem.dial, modem.prefix, modem.init, modem.dial_timeout) == ("555-1212", "ATDP", ("ATZ",), 30)
    assert (modem.manners.pace, modem.hangup_timeout, modem.watch_carrier) == (0.01, 3, False)
    tun = config.tun
    assert tun is not None
    assert (tun.name, tun.mtu, tun.mss_clamp, tun.ecn, tun.namespace) == ("bond0", 1300, True, False, "site")
    assert (tun.addresses, tun.peer) == (("10.0.0.1/30", "fd00::1/64"), ("10.0.0.2",))
    assert tun.routes == (Route("192.168.7.0/24"), Route("10.9.0.0/16", 7), Route("default"), Route("::/0"))
    assert (config.hooks.bond_up, config.hooks.slave_down, config.hooks.timeout) == (
        ("/etc/eqlbond/up", "x"), "logger down", 5,
    )  # fmt: skip
    assert config.control is not None
    assert config.control.socket == "/run/bond7.sock"
    assert (config.log.level, config.log.file) == ("debug", str(tmp_path / "bond.log"))
    for secret in ("envsecret", "chapsecret", "hubsecret", "othersecret"):
        assert secret not in repr(config)
    assert config == Config.load(tmp_path / "bond.toml", {"SECRET": "envsecret"})
    assert config != Config.load(tmp_path / "bond.toml", {"SECRET": "another"})


def test_an_empty_file_is_a_bond_that_waits_for_lines() -> None:
    config = Config.parse("")
    assert config == Config()
    assert (config.bond.mtu, config.slaves, config.tun, config.bond.queue.fair) == (1500, (), None, FqCoDel())
    assert isinstance(config.bond.scheduler.make(), EarliestDelivery)
    assert Config.parse("[control]\nenabled = false").control is None


@pytest.mark.parametrize(
    ("given", "made"),
    [
        ("", None),
        ("half_duplex = false", None),
        ("half_duplex = true", HalfDuplex()),
        ("half_duplex = { turnaround = 0.5, burst = 5 }", HalfDuplex(turnaround=0.5, burst=5.0)),
        (
            'framing = "kiss"\n[slave.half_duplex]\npause = 0.9\npersistence = 0.25\nslot = 0.2',
            HalfDuplex(pause=0.9, persistence=0.25, slot=0.2),
        ),
    ],
)
@pytest.mark.parametrize("where", ['device = "/dev/ttyUSB0"', 'url = "socket://tnc:8001"'])
def test_lines_that_take_turns(given: str, made: HalfDuplex | None, where: str) -> None:
    [slave] = Config.parse(f"[[slave]]\n{where}\nbaudrate = 9600\nrate = 1200\n{given}").make_slaves()
    member = slave.member
    assert (member.half_duplex if isinstance(member, HalfDuplexMember) else None) == made


@pytest.mark.parametrize(
    ("framing", "made"),
    [
        ("", Slip()),
        ('framing = "slip"\noutfill = 5\nkeepalive = 20', Slip(outfill=5.0, keepalive=20.0)),
        ('framing = { name = "slip", ip_only = true, max_frame = 2000 }', Slip(ip_only=True, max_frame=2000)),
        ('framing = { name = "kiss", port = 3 }', Kiss(3)),
        ('framing = { name = "hdlc", fcs = 32 }', Hdlc(fcs=32)),
        ('framing = "ppp"', Ppp()),
        ('framing = "eqlbond.codec.slip:Slip"', Slip()),
        ('framing = "eqlbond.Slip"', Slip()),
    ],
)
def test_framings(framing: str, made: object) -> None:
    slave = Config.parse(f'[[slave]]\ndevice = "/dev/x"\n{framing}\n').slaves[0].make()
    assert slave.member.framing == made


def test_the_manuals_modem_lines() -> None:
    answering, script, steps = Config.parse("""
[[slave]]
device = "/dev/ttyS0"
modem = { answer = true, rings = 2, auto = true, wait = 60, login = { secrets = { P = "pw" }, attempts = 2 } }
[[slave]]
device = "/dev/ttyS1"
modem = { script = "'' ATZ OK ATDT\\\\T CONNECT", phone = "555" }
[[slave]]
device = "/dev/ttyS2"
[slave.modem]
dial = "555"
[[slave.modem.login]]
expect = "ogin:"
send = "me"
nudge = ""
[[slave.modem.login]]
expect = "word:"
secret = "topsecret"
""").slaves
    assert answering.modem is not None
    assert isinstance(answering.modem.make(), AnsweringModem)
    assert script.modem is not None
    assert repr(script.modem.make()) == "Modem(script=<ChatScript of 3 steps>)"
    assert steps.modem is not None
    login = steps.modem.make().login
    assert isinstance(login, tuple)
    assert [step.expect for step in login] == ["ogin:", "word:"]
    assert "topsecret" not in repr((steps, login))


def test_a_line_over_the_network() -> None:
    made = (
        Config.parse("""
[[slave]]
url = "rfc2217://10.1.1.1:2217"
baudrate = 9600
rtscts = true
dtr = false
open_timeout = 3
modem = { dial = "555" }
""")
        .slaves[0]
        .make()
    )
    assert isinstance(made, NetworkSlave)
    assert (made.name, made.baudrate, made.rate) == ("rfc2217://10.1.1.1:2217", 9600, 9600)


def own_scheduler(monkeypatch: pytest.MonkeyPatch, **names: object) -> None:
    module = types.ModuleType("own_parts")
    for name, value in names.items():
        setattr(module, name, value)
    monkeypatch.setitem(sys.modules, "own_parts", module)


class Picky(RoundRobin):
    def __init__(self, taste: int) -> None:
        super().__init__()
        self.taste = taste
        if taste > 5:
            raise RuntimeError("too much")


def test_a_scheduler_of_ones_own(monkeypatch: pytest.MonkeyPatch) -> None:
    own_scheduler(monkeypatch, Picky=Picky, nothing=3, no_scheduler=dict)
    config = Config.parse('[bond]\nscheduler = { name = "own_parts:Picky", taste = 4 }')
    scheduler = config.bond.scheduler.make()
    assert isinstance(scheduler, Picky)
    assert scheduler.taste == 4
    for name, problem in (
        ('"own_parts:nothing"', "is no class, but int"),
        ('"own_parts:absent"', "cannot be imported: AttributeError"),
        ('"no_such_module.Thing"', "is it on PYTHONPATH?"),
        ('"own_parts:no_scheduler"', "has no method place"),
        ('"earlyest"', "did you mean 'earliest'?"),
        ('{ name = "own_parts:Picky" }', "taste is needed"),
        ('{ name = "own_parts:Picky", taste = 9 }', "cannot be made: RuntimeError: too much"),
        ("7", "a table, not 7"),
    ):
        ((line, key, text),) = wrong(f"[bond]\n\nscheduler = {name}\n")
        assert (line, key) == (3, "bond.scheduler"), name
        assert problem in text


@pytest.mark.parametrize(
    ("text", "line", "key", "problem"),
    [
        ("mtu = 3", 1, "mtu", "no such key"),
        ("[bond]\nmtu = true", 2, "bond.mtu", "not true"),
        ("bond = 3", 1, "bond", "a table, not 3"),
        ("slave = 3", 1, "slave", "[[slave]]"),
        ("slave = [1]", 1, "slave[1]", "a table, not 1"),
        ("[bond]\nmin_slaves = 3\nmax_slaves = 2", 2, "bond.min_slaves", "at most max_slaves (2)"),
        ('[bond]\nmax_slaves = 1\n[[slave]]\ndevice="/a"\n[[slave]]\ndevice="/b"', 2, "bond.max_slaves", "2 slaves"),
        ('[[slave]]\ndevice="/a"\n[[slave]]\nname="x"\ndevice="/a"', 5, "slave[2].device", "another slave, too"),
        ('[[slave]]\ndevice="/a"\nname="x"\n[[slave]]\nname="x"\ndevice="/b"', 5, "slave[2].name", "another slave"),
        ('[bond]\nmultilink = true\n[[slave]]\ndevice="/a"', 3, "slave[1].framing", "Multilink needs"),
        ("[bond]\nmultilink = 3", 2, "bond.multilink", "true, false, or a table"),
        ("[bond]\nmtu = 2000\nmultilink = {mrru = 1500}", 3, "bond.multilink.mrru", "the bond's MTU (2000)"),
        ('[[slave]]\ndevice="/a"\nlatency = nan', 3, "slave[1].latency", "seconds from 0 on"),
        ('[[slave]]\ndevice="/a"\nhalf_duplex = 0.3', 3, "slave[1].half_duplex", "true, false, or a table, not 0.3"),
        ('[[slave]]\ndevice="/a"\nhalf_duplex = { burst = 0 }', 3, "slave[1].half_duplex.burst", "seconds above 0"),
        ('[[slave]]\ndevice="/a"\nhalf_duplex = { bust = 1 }', 3, "slave[1].half_duplex.bust", "did you mean 'burst'"),
        (
            '[[slave]]\ndevice="/a"\n[slave.half_duplex]\npause = 0.1',
            4,
            "slave[1].half_duplex.pause",
            "turnaround (0.3",
        ),
        ('[[slave]]\ndevice="/a"\nhalf_duplex={persistence=2}', 3, "slave[1].half_duplex.persistence", "at most 1"),
        (
            '[[slave]]\ndevice="/a"\nrate="unpaced"\nhalf_duplex=true',
            4,
            "slave[1].half_duplex",
            "needs the line's rate",
        ),
        ('[[slave]]\ndevice="/a"\nrate = "fast"', 3, "slave[1].rate", '(or "unpaced")'),
        ('[[slave]]\ndevice="/a"\nurl="socket://h:1"', 3, "slave[1].url", "one of them"),
        ('[[slave]]\nurl="socket://h:1"\nlock=true', 3, "slave[1].lock", "only for a line with a device"),
        ('[[slave]]\ndevice="/a"\nopen_timeout=3', 3, "slave[1].open_timeout", "only for a line with a url"),
        ('[[slave]]\ndevice="socket://h:1"', 2, "slave[1].device", "'socket://h:1' is a url, of a NetworkSlave"),
        ('[[slave]]\nurl="gopher://h:1"', 2, "slave[1].url", "rfc2217://"),
        ('[[slave]]\ndevice="/a"\nxonxoff = true', 3, "slave[1].xonxoff", "use rtscts"),
        ('[[slave]]\ndevice="/a"\nmtu = 900', 3, "slave[1].mtu", "the bond's MTU (1500)"),
        ('[[slave]]\ndevice="/a"\n[slave.ppp]\nmru = 900', 3, "slave[1].ppp", 'whose framing is not "ppp"'),
        ('[[slave]]\ndevice="/a"\nframing="ppp"\noutfill = 5', 4, "slave[1].outfill", "PPP has echo_interval"),
        ('[[slave]]\ndevice="/a"\nframing="ppp"\n[slave.ppp]\nrequire="chap"', 4, "slave[1].ppp", "secrets"),
        ('[[slave]]\ndevice="/a"\nmax_holdoff=1\nholdoff=2', 3, "slave[1].max_holdoff", "from holdoff"),
        ('[[slave]]\ndevice="/a"\nmodem={}', 3, "slave[1].modem", "dial is needed"),
        ('[[slave]]\ndevice="/a"\nmodem={dial="5",rings=3}', 3, "slave[1].modem.rings", "no such key"),
        ('[[slave]]\ndevice="/a"\nmodem={dial="5",init=["ATZ","XY"]}', 3, "slave[1].modem.init", "'ATZ', not 'XY'"),
        ('[[slave]]\ndevice="/a"\nmodem={script_file="nope"}', 3, "slave[1].modem.script_file", "No such file"),
        ('[tun]\nname = "a/b"', 2, "tun.name", "1 to 15 characters"),
        ('[tun]\naddresses = "10.0.0.1"\npeer = "fe80::2"', 1, "tun", "no address of ours beside it"),
        ('[tun]\nroutes = [{to = "10.0.0.0/8"}]', 2, "tun.routes[1]", "metric = 100"),
        ("[bond]\nmtu=1000\n[tun]\nmtu = 1400", 4, "tun.mtu", "at most the bond's MTU (1000)"),
        ('[bond]\nmtu=1000\n[tun]\naddresses = ["fd00::1/64"]', 3, "tun", "IPv6 needs 1280"),
        ('[tun]\nroutes = ["10.0.0.1/8"]', 2, "tun.routes[1]", "has host bits set"),
        ("[hooks]\nup = []", 2, "hooks.up", "a command"),
        (f'[control]\nsocket = "/{"x" * 120}"', 2, "control.socket", "107 bytes"),
        ("[bond]\nqueue = { fair = 1 }", 2, "bond.queue.fair", "true or false, not 1"),
        ("[bond]\nqueue = { fair = false, ecn = true }", 2, "bond.queue.ecn", "fair is false"),
        ("[bond.queue]\ninterval = 1\ntarget = 2", 3, "bond.queue.target", "less than the interval"),
        ("\n\na = [1,", 3, "", "is no TOML"),
        ("a = 1\na = 2", 2, "", "is no TOML"),
        ("a = " + "[" * 100000, None, "", "nested too deeply"),
    ],
)
def test_one_error(text: str, line: int | None, key: str, problem: str) -> None:
    ((got_line, got_key, got_problem),) = wrong(text)
    assert (got_line, got_key) == (line, key)
    assert problem in got_problem


def test_line_numbers_with_crlf() -> None:
    assert [line for line, _, _ in wrong("[bond]\r\n\r\nmtu = 1\r\nx = 1\r\n")] == [3, 4]


SECRETS = '[[slave]]\ndevice="/a"\nframing="ppp"\n[slave.ppp]\nauth = { name = "us", secret = %s }'


@pytest.mark.parametrize(
    ("secret", "key", "problem"),
    [
        ('""', "secret", "not an empty text"),
        ("7", "secret", '{file = "/path"}'),
        ('{ vault = "topsecret" }', "secret", '{env = "NAME"}'),
        ('{ env = "ABSENT" }', "secret.env", "no variable ABSENT"),
        ('{ file = "/nonexistent/secret" }', "secret.file", "No such file"),
        ("{ env = 3 }", "secret.env", "the name of a variable"),
        ('"' + "topsecret" * 40 + '"', "secret", "1 to 255 bytes"),
    ],
)
def test_bad_secrets_are_not_shown(secret: str, key: str, problem: str) -> None:
    ((line, got_key, text),) = wrong(SECRETS % secret)
    assert (line, got_key) == (5, f"slave[1].ppp.auth.{key}")
    assert problem in text
    assert "topsecret" not in text


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "latin.toml").write_bytes(b"[bond]\nmtu = 576 # gr\xf6\xdfe\n")
    for name, problem in (
        ("absent.toml", "absent.toml: cannot be read: No such file or directory"),
        (".", "cannot be read: Is a directory"),
        ("latin.toml", "latin.toml:2: is no UTF-8 text here"),
    ):
        with pytest.raises(ConfigurationErrors) as caught:
            Config.load(tmp_path / name)
        assert problem in str(caught.value)


def test_a_line_by_itself() -> None:
    assert read_slave_table({"device": "/dev/x", "rate": 9600, "framing": "ppp"}, {"mru": 900}).framing == Ppp(mru=900)
    with pytest.raises(ConfigurationErrors) as caught:
        read_slave_table({"device": 3, "frming": "ppp"})
    assert "slave: frming: no such key; did you mean 'framing'?" in str(caught.value)
    assert len(caught.value.exceptions) == 2
