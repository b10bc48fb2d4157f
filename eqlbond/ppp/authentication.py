"""Who proves what to whom on one link: the roles of PAP and CHAP that LCP's agreement calls for."""

from __future__ import annotations

from eqlbond.codec.options import CHAP_PROTOCOL, PAP_PROTOCOL, AuthenticationProtocol
from eqlbond.ppp.basics import RandomSource
from eqlbond.ppp.chap import Chap, ChapAuthenticator, ChapPeer
from eqlbond.ppp.config import Ppp
from eqlbond.ppp.pap import Pap, PapAuthenticator, PapPeer
from eqlbond.ppp.role import Role


def make_roles(
    config: Ppp, demanded: AuthenticationProtocol | None, asked: AuthenticationProtocol | None, random: RandomSource
) -> tuple[list[Role], PapAuthenticator | ChapAuthenticator | None]:
    """The roles on a link where we demand one protocol of the peer and it asks one of us; and ours as authenticator."""
    timing = config.timing
    roles: list[Role] = []
    authenticator: PapAuthenticator | ChapAuthenticator | None = None
    if demanded is not None and config.secrets is not None:
        if demanded.protocol == PAP_PROTOCOL:
            authenticator = PapAuthenticator(config.secrets, timing)
        elif demanded.protocol == CHAP_PROTOCOL:
            authenticator = ChapAuthenticator(config.name, config.secrets, random, timing, config.rechallenge)
        if authenticator is not None:
            roles.append(authenticator)
    if asked is not None:
        if isinstance(config.auth, Pap):
            roles.append(PapPeer(config.auth, random, timing))
        elif isinstance(config.auth, Chap):
            peer = ChapPeer(config.auth, timing)
            if isinstance(authenticator, ChapAuthenticator):
                peer.own_challenges = authenticator.challenges
            roles.append(peer)
    return roles, authenticator
