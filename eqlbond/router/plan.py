"""What has to be done to get from one configuration to another while the bond runs."""

from __future__ import annotations

import attrs

from eqlbond.config import Config, SlaveConfig

_LIVE_SETTINGS = ("priority", "latency")


@attrs.frozen(kw_only=True)
class Plan:
    """The steps. Slaves that are in none of the lists are left alone."""

    added: tuple[SlaveConfig, ...] = ()
    removed: tuple[str, ...] = ()
    reopened: tuple[SlaveConfig, ...] = ()
    """Slaves that have to be taken out and enslaved anew."""
    changed: tuple[SlaveConfig, ...] = ()
    """Slaves whose rate, priority, latency or supervision changes, while the line stays open."""
    unchanged: tuple[str, ...] = ()
    restart: tuple[str, ...] = ()
    """Keys whose change takes effect only when the bond is started anew."""


def plan(old: Config, new: Config) -> Plan:
    """What is to be done. Slaves are known by their names."""
    before = {slave.name: slave for slave in old.slaves}
    after = {slave.name: slave for slave in new.slaves}
    kept = [slave for slave in new.slaves if slave.name in before]
    changed = [slave for slave in kept if slave != before[slave.name]]
    return Plan(
        added=tuple(slave for slave in new.slaves if slave.name not in before),
        removed=tuple(name for name in before if name not in after),
        reopened=tuple(slave for slave in changed if not _same_line(before[slave.name], slave)),
        changed=tuple(slave for slave in changed if _same_line(before[slave.name], slave)),
        unchanged=tuple(slave.name for slave in kept if slave == before[slave.name]),
        restart=tuple(_restart(old, new)),
    )


def _same_line(old: SlaveConfig, new: SlaveConfig) -> bool:
    """Whether the line can stay open."""

    def fixed(slave: SlaveConfig) -> object:
        settings = {key: value for key, value in slave.settings.items() if key not in _LIVE_SETTINGS}
        return attrs.evolve(slave, rate=None, supervision=type(slave.supervision)(), settings=settings)

    # Back to "what the modem tells" needs a modem to tell it.
    learns_again = isinstance(new.rate, str) and not isinstance(old.rate, str)
    return fixed(old) == fixed(new) and not learns_again


def _restart(old: Config, new: Config) -> list[str]:
    names = [
        f"bond.{key}"
        for key in ("mtu", "scheduler", "multilink", "queue")
        if getattr(old.bond, key) != getattr(new.bond, key)
    ]
    return names + [key for key in ("tun", "control") if getattr(old, key) != getattr(new, key)]
