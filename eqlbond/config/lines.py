"""Reading the tables of one line: ``[[slave]]``, its PPP and its modem."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from eqlbond.codec.options import EndpointDiscriminator
from eqlbond.config import checks
from eqlbond.config.checks import Check, Wrong
from eqlbond.config.model import DEFAULT_RATE, ModemConfig, SlaveConfig, SupervisionConfig
from eqlbond.config.parts import FRAMING, Part, read_part
from eqlbond.config.section import Section
from eqlbond.core.half_duplex import HalfDuplex
from eqlbond.modem import LoginPrompt
from eqlbond.ppp.chap import Chap
from eqlbond.ppp.config import IpOptions, Ipv6Options, Ppp
from eqlbond.ppp.pap import Pap
from eqlbond.supervise import Redial, Watch

_ENDPOINTS = {
    "local": EndpointDiscriminator.local,
    "ipv4": EndpointDiscriminator.ipv4,
    "mac": EndpointDiscriminator.mac,
    "phone": EndpointDiscriminator.phone,
}
_AT_HAND: dict[str, Check[Any]] = {
    "exclusive": checks.boolean,
    "low_latency": checks.boolean,
    "hupcl": checks.boolean,
    "lock": checks.switch_or(checks.text("the directory of the lock files")),
}
_OVER_THE_NETWORK: dict[str, Check[Any]] = {"open_timeout": checks.seconds(above=True)}


def endpoint(value: Any) -> EndpointDiscriminator:
    """``site7``, or ``ipv4:10.0.0.1``, ``mac:...``, ``phone:...``."""
    name = checks.text('who this system is, such as "site7" or "ipv4:10.0.0.1"')(value)
    kind, separator, rest = name.partition(":")
    try:
        return _ENDPOINTS[kind](rest) if separator and kind in _ENDPOINTS else EndpointDiscriminator.local(name)
    except ValueError as error:
        raise Wrong(str(error).removeprefix("endpoint: ")) from None


def read_slave(section: Section, shared: Mapping[str, Any] | None) -> SlaveConfig | None:
    """A line; None where something is wrong with it.

    Args:
        section: its table.
        shared: options of PPP that all lines with ``framing = "ppp"`` share.
    """
    device = section.take("device", checks.text("the path of a serial port"))
    url = section.take("url", checks.text("a URL such as socket://host:port"))
    if "device" not in section and "url" not in section:
        section.wrong(None, "a line needs its device (the path of a serial port), or a url")
    elif "device" in section and "url" in section:
        section.wrong("url", "device and url are both given; a line has one of them")
    rate = section.take("rate", checks.optional(checks.number(above=True, what="bit/s"), "unpaced"), DEFAULT_RATE)
    settings = section.given(
        bits_per_byte=checks.number(above=True, what="bits"),
        latency=checks.seconds(),
        priority=checks.number(above=True, what="a weight"),
        mtu=checks.integer(68, 65535, "bytes"),
        parity=checks.one_of("N", "E", "O", "M", "S"),
        stopbits=_stopbits,
        rtscts=checks.boolean,
        xonxoff=checks.boolean,
        dtr=checks.boolean,
        rts=checks.boolean,
        **(_AT_HAND if url is None else _OVER_THE_NETWORK),
    )
    elsewhere = _OVER_THE_NETWORK if url is None else _AT_HAND
    for key in section.given(**elsewhere):
        section.wrong(key, f"only for a line with a {'url' if url is None else 'device'}")
    if (turns := _half_duplex(section)) is not None:
        settings["half_duplex"] = turns
    if isinstance(settings.get("lock"), str):
        settings["lock"] = str(section.document.file(settings["lock"]))
    framing: Part | Ppp | None = read_part(section, "framing", FRAMING, "slip")
    named = section.raw("framing")
    ppp = section.table("ppp")
    if named == "ppp" or (isinstance(named, dict) and named.get("name") == "ppp"):
        if isinstance(named, dict):
            section.wrong("framing", 'PPP has a table of its own: framing = "ppp" and [slave.ppp]')
        framing = read_ppp(ppp or Section(section.document, {}, section.path), shared)
    elif ppp is not None:
        section.wrong("ppp", 'options of PPP, on a line whose framing is not "ppp"')
        ppp = None
    framing = _liveness(section, framing)
    modem_table = section.table("modem")
    modem = None if modem_table is None else read_modem(modem_table)
    supervision = read_supervision(section)
    name = section.take("name", checks.text("a name for people"), device or url or "")
    baudrate = section.take("baudrate", checks.integer(1, what="bit/s"), 57600)
    section.finish()
    if section.failed or framing is None:
        return None
    config = SlaveConfig(
        name=name or "",
        device=device,
        url=url,
        baudrate=baudrate,
        rate=rate,
        framing=framing,
        settings=settings,
        modem=modem,
        supervision=supervision,
    )
    return None if section.make(config.make) is None else config


def _half_duplex(section: Section) -> HalfDuplex | None:
    """How the ends of the line take turns: true, or a table of what is not as usual; None: both talk at once."""
    value = section.raw("half_duplex")
    if value is None or value is False:
        return None
    if value is True:
        return HalfDuplex()
    if not isinstance(value, dict):
        section.wrong("half_duplex", f"true, false, or a table, not {checks.shown(value)}")
        return None
    inner = section.table("half_duplex")
    assert inner is not None
    options = inner.given(
        turnaround=checks.seconds(above=True),
        burst=checks.seconds(above=True),
        pause=checks.seconds(above=True),
        persistence=checks.number(above=True, what="a probability"),
        slot=checks.seconds(above=True),
    )
    inner.finish()
    return inner.make(HalfDuplex, **options)


def _stopbits(value: Any) -> float:
    if isinstance(value, bool) or value not in (1, 1.5, 2):
        raise Wrong(f"1, 1.5 or 2, not {checks.shown(value)}")
    return float(value)


def read_supervision(section: Section) -> SupervisionConfig:
    """How the line is brought back, and by what it is taken for dead."""
    redial = section.given(
        holdoff=checks.seconds(),
        max_holdoff=checks.seconds(),
        maxfail=checks.integer(0),
        persist=checks.boolean,
    )
    watch = section.given(carrier=checks.boolean, stall=checks.optional(checks.seconds(above=True), "off"))
    return SupervisionConfig(
        redial=section.make(Redial, **redial) or Redial(), watch=section.make(Watch, **watch) or Watch()
    )


def _liveness(section: Section, framing: Part | Ppp | None) -> Part | Ppp | None:
    """`outfill` and `keepalive`, which are options of SLIP, may stand in the line's own table."""
    given = section.given(outfill=checks.seconds(above=True), keepalive=checks.seconds(above=True))
    if not given or framing is None:
        return framing
    if isinstance(framing, Ppp) or framing.name != "slip":
        for key in given:
            section.wrong(key, "an option of SLIP; PPP has echo_interval and echo_failure")
        return framing
    return attrs.evolve(framing, options={**given, **framing.options})


def ppp_options(section: Section) -> dict[str, Any]:
    """The options of a table of PPP, those that are given."""
    options = section.given(
        mru=checks.integer(128, 65535, "bytes"),
        accm=checks.integer(0, 0xFFFFFFFF),
        name=checks.text("what we call ourselves"),
        rechallenge=checks.seconds(above=True),
        role=checks.one_of("caller", "answerer"),
        magic=checks.boolean,
        pfc=checks.boolean,
        acfc=checks.boolean,
        fcs32=checks.boolean,
        endpoint=endpoint,
        min_mtu=checks.integer(1, 65535, "bytes"),
        min_mrru=checks.integer(1, 65535, "bytes"),
        echo_interval=checks.seconds(),
        echo_failure=checks.integer(1, 1000),
        identification=checks.text("a text for the peer"),
        restart=checks.seconds(above=True),
        max_configure=checks.integer(1, 1000),
        max_terminate=checks.integer(1, 1000),
        max_failure=checks.integer(1, 100),
        establish_timeout=checks.seconds(above=True),
    )
    if "auth" in section:
        options["auth"] = _auth(section)
    if "require" in section:
        options["require"] = section.items("require", checks.one_of("pap", "chap"), or_one=True)
    if "secrets" in section:
        options["secrets"] = _secrets(section, "secrets")
    for key, read in (("ip", _ip), ("ipv6", _ipv6)):
        if key not in section:
            continue
        value = section.raw(key)
        if isinstance(value, bool):
            options[key] = (IpOptions() if key == "ip" else Ipv6Options()) if value else None
        else:
            inner = section.table(key)
            made = None if inner is None else read(inner)
            if made is not None:
                options[key] = made
    section.finish()
    return options


def read_ppp(section: Section, shared: Mapping[str, Any] | None) -> Ppp | None:
    """PPP of one line; its own options go before the shared ones."""
    options = {**(shared or {}), **ppp_options(section)}
    return None if section.failed else section.make(Ppp, **options)


def _auth(section: Section) -> Pap | Chap | None:
    inner = section.table("auth")
    if inner is None:
        return None
    method = inner.take("method", checks.one_of("chap", "pap"), "chap")
    name = inner.need("name", checks.text("the name that the peer knows us by"), "")
    if "secret" not in inner:
        inner.wrong(None, 'secret is needed: a text, {file = "/path"} or {env = "NAME"}')
    secret = inner.secret("secret")
    inner.finish()
    if inner.failed or secret is None:
        return None
    return inner.make(Pap, name, secret) if method == "pap" else inner.make(Chap, name, secret)


def _secrets(section: Section, key: str) -> dict[str, str]:
    inner = section.table(key)
    if inner is None:
        return {}
    found = {name: inner.secret(name) for name in inner}
    return {name: secret for name, secret in found.items() if secret is not None}


def _ip(section: Section) -> IpOptions | None:
    options: dict[str, Any] = section.given(local=checks.address, peer=checks.address, ask_dns=checks.boolean)
    options["dns"] = section.items("dns", checks.address, or_one=True)
    section.finish()
    return None if section.failed else section.make(IpOptions, **options)


def _ipv6(section: Section) -> Ipv6Options | None:
    identifier = checks.text('an interface identifier such as "fe80::1"')
    options = section.given(interface_id=identifier, peer_interface_id=identifier)
    section.finish()
    return None if section.failed else section.make(Ipv6Options, **options)


def read_modem(section: Section) -> ModemConfig | None:
    """The modem of a line."""
    answers = section.take("answer", checks.boolean, False)
    options = section.given(
        command_timeout=checks.seconds(0.01),
        guard_time=checks.seconds(),
        pace=checks.seconds(),
        hangup_timeout=checks.seconds(),
        watch_carrier=checks.boolean,
    )
    if "init" in section:
        options["init"] = section.items("init", checks.text("a command such as ATZ"), or_one=True)
    script: dict[str, Any] | None = None
    if answers:
        options |= section.given(
            rings=checks.integer(1, 255),
            auto=checks.boolean,
            wait=checks.seconds(0.01),
            answer_timeout=checks.seconds(0.01),
        )
    else:
        options |= section.given(
            dial=checks.text("a telephone number"),
            prefix=checks.text("ATDT or ATDP"),
            dial_timeout=checks.seconds(0.01),
        )
        script = _script(section)
        if not any(key in section for key in ("dial", "script", "script_file")):
            section.wrong(None, "dial is needed, a telephone number; or script or script_file; or answer = true")
    login = _login(section, answers)
    section.finish()
    if section.failed:
        return None
    config = ModemConfig(answer=answers, options=options, script=script, login=login)
    return None if section.make(config.make) is None else config


def _script(section: Section) -> dict[str, Any] | None:
    """A script of chat(8), in the file or in one of its own."""
    script = section.take("script", checks.text("a script of chat"))
    name = section.take("script_file", checks.text("the file of a script of chat"))
    options: dict[str, Any] = section.given(
        phone=checks.text("a telephone number"), phone2=checks.text("a telephone number")
    )
    expand = section.take("environment", checks.boolean, False)
    if script is not None and name is not None:
        section.wrong("script_file", "script and script_file are both given")
    if "dial" in section and (script is not None or name is not None):
        section.wrong("dial", "a script dials by itself; give it the number as phone")
    if name is not None:
        try:
            script = section.document.file(name).read_text(encoding="utf-8", errors="surrogateescape")
        except OSError as error:
            section.wrong("script_file", f"{name}: {error.strerror}")
    if script is None:
        if options and "script" not in section and "script_file" not in section:
            section.wrong("phone" if "phone" in section else "phone2", "only with script or script_file")
        return None
    if expand:
        options["environment"] = dict(section.document.environment)
    return {"text": script, **options}


def _login(section: Section, answers: bool) -> dict[str, Any] | tuple[dict[str, Any], ...] | None:
    if "login" not in section:
        return None
    if isinstance(section.raw("login"), list):
        return tuple(_ask(step) for step in section.tables("login"))
    inner = section.table("login")
    if inner is None:
        return None
    if answers:
        options: dict[str, Any] = inner.given(
            banner=checks.any_text, attempts=checks.integer(1), timeout=checks.seconds(above=True)
        )
        if "secrets" not in inner:
            inner.wrong(None, "secrets is needed: a table of names and passwords")
        options["secrets"] = _secrets(inner, "secrets")
        inner.finish()
        if not inner.failed:
            inner.make(LoginPrompt, **options)
        return options
    options = inner.given(
        name_prompt=checks.text(),
        password_prompt=checks.text(),
        ready=checks.text(),
        timeout=checks.seconds(above=True),
    )
    if "refusals" in inner:
        options["refusals"] = inner.items("refusals", checks.text())
    options["name"] = inner.need("name", checks.text("the login name"), "")
    if "password" not in inner:
        inner.wrong(None, 'password is needed: a text, {file = "/path"} or {env = "NAME"}')
    options["password"] = inner.secret("password") or ""
    inner.finish()
    return options


def _ask(step: Section) -> dict[str, Any]:
    options: dict[str, Any] = step.given(
        expect=checks.any_text,
        send=checks.any_text,
        timeout=checks.seconds(above=True),
        nudge=checks.any_text,
        settle=checks.seconds(),
    )
    if "secret" in step:
        options["secret"] = step.secret("secret")
        if "send" in step:
            step.wrong("secret", "send and secret are both given")
    step.finish()
    return options
