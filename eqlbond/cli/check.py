"""``eqlbond check``: is a configuration file good?"""

from __future__ import annotations

import argparse
import os

from eqlbond.config import Config, Part


def configure(parser: argparse.ArgumentParser) -> None:
    """Give a parser the description and the options of this command."""
    parser.description = "Read a configuration file as `run` would, open nothing, and tell all that is wrong with it."
    parser.add_argument("file", metavar="FILE", help="the configuration, such as bond.toml")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the command. Errors are raised as `ConfigurationErrors`."""
    config = Config.load(args.file)
    scheduler = config.bond.scheduler.name
    print(f"{args.file}: good")
    print(f"  bond: MTU {config.bond.mtu}, scheduler {scheduler}{', Multilink' if config.bond.multilink else ''}")
    for slave in config.slaves:
        framing = slave.framing.name if isinstance(slave.framing, Part) else "ppp"
        where = slave.device if slave.device is not None else slave.url
        print(f"  slave {slave.name}: {where}, {framing}{', modem' if slave.modem else ''}")
        if slave.device is not None and not os.path.exists(slave.device):
            print(f"    (the device {slave.device} is not there now)")
    if not config.slaves:
        print("  no slaves: they are to come by `eqlbond enslave`")
    if config.tun is not None:
        print(f"  interface {config.tun.name}: {', '.join(map(str, config.tun.addresses)) or 'addresses by PPP'}")
    return 0
