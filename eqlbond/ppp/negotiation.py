"""What all control protocols have in common: the automaton at work on packets, options, counters and time.

A subclass says which options it wants and judges the peer's; everything else of RFC 1661 sections 4 and 5 is here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from eqlbond.codec import control
from eqlbond.codec.control import ControlPacket, parse_control
from eqlbond.codec.options import Option, encode_options, parse_options
from eqlbond.ppp.automaton import NEGOTIATING, TIMED, TRANSITIONS, Action, FsmEvent, State
from eqlbond.ppp.basics import ACCEPT, Answer, RandomSource, Reject, Signal, Timing

__all__ = ["ACCEPT", "Answer", "ControlProtocol", "RandomSource", "Reject", "Signal", "Timing"]

_FIRST = 0.5
"""Seconds until a request is repeated for the first time; each further wait is twice as long, up to `restart`."""

REFUSALS = 25
"""Refusals without an Ack between them, of one direction, before a negotiation that cannot converge is ended.

Max-Failure bounds the Naks that one side sends; nothing in RFC 1661 bounds a peer that refuses for ever."""


_LONGEST = 5
"""How many times the configured restart timer a measured round trip can make it."""


class ControlProtocol:
    """One control protocol of one link or bundle. No clock, no I/O: `now` in seconds of the caller's clock.

    Calls return nothing; what they cause stands in `take_steps()`, packets and signals in their order.
    """

    protocol: ClassVar[int]
    """The PPP protocol number."""
    name: ClassVar[str]
    layer: ClassVar[str]
    """What the protocol opens and closes, for people."""
    parts_at_once: ClassVar[bool] = False
    """Whether the peer's Terminate-Ack is answered by one of ours.

    A peer whose link we closed waits a restart time before it takes the link away (RFC 1661 section 4.2), and pppd's
    kernel sends Multilink fragments on it until then. A Terminate-Ack that nobody asked for says that we are in Closed
    (section 5.5), and ends its wait: RTA in Stopping is tlf/3.
    """

    def __init__(self, random: RandomSource, timing: Timing, *, passive: bool = False) -> None:
        self.state = State.INITIAL
        self.failure: str | None = None
        """Why the protocol ended or cannot open, for people."""
        self.gave_up = False
        """Whether the last negotiation ended because answers stayed out."""
        self.discarded: dict[str, int] = {}
        """Packets discarded silently, by reason."""
        self.refused: dict[str, str] = {}
        """Options of the peer's that were rejected: name or number, and why."""
        self.peer_mru = 1500
        """The most that a packet of ours may hold."""
        self._random = random
        self._timing = timing
        self._passive = passive
        self._steps: list[bytes | Signal] = []
        self._count = 0
        self.least_wait = 0.0
        """Seconds that a request and its answer may take on the line, as far as its owner knows: none is repeated
        before (RFC 1661 section 4.6 leaves the restart timer to the speed of the link)."""
        self._deadline: float | None = None
        self._identifier = random.randbytes(1)[0]
        self._request_id = -1
        self._request_data = b""
        self._request_fresh = False
        self._answered = False
        self._answered_by: ControlPacket | None = None
        self._restart = timing.restart
        self._first = min(_FIRST, timing.restart)
        self._first_sent = 0.0
        self._last_sent = 0.0
        self._transmissions = 0
        self._spent: ControlPacket | None = None
        self._spent_after = 0.0
        self._answer: bytes | None = None
        self._heard = False
        self._peer_said = ""
        self._naks_sent = 0
        self._refusals_sent = 0
        self._refusals_heard = 0
        self._acks_heard = 0
        self._fatal = False
        self._terminate_id = 0

    # What a subclass provides.

    def reset(self) -> None:
        """A negotiation begins: return to the configured wishes and forget what was agreed."""
        raise NotImplementedError

    def wanted(self) -> Sequence[Option]:
        """The options of our next Configure-Request."""
        raise NotImplementedError

    def judge(self, option: Option) -> Answer:
        """What we say to an option of the peer's. Remember what is accepted; `accepted` tells that all of it is."""
        raise NotImplementedError

    def judging(self) -> None:
        """A Configure-Request of the peer's is about to be judged: nothing of it is accepted yet."""

    def missing(self, types: frozenset[int]) -> Sequence[Option]:
        """Options that the peer should have asked for: they are appended to a Nak. Given: the types it did name."""
        return ()

    def accepted(self) -> None:
        """Our Configure-Ack goes out: what was judged last is agreed."""

    def naked(self, option: Option, drop: bool) -> None:
        """The peer proposes another value; with `drop`, it has done so too often and the option is to be given up."""
        raise NotImplementedError

    def rejected(self, option: Option) -> None:
        """The peer does not negotiate this option."""
        raise NotImplementedError

    def agreed(self) -> None:
        """The peer acknowledged our options."""

    def extension(self, packet: ControlPacket, now: float) -> FsmEvent:
        """Handle a code above 7 and say which event it is."""
        return FsmEvent.UNKNOWN_CODE

    def code_rejected(self, code: int) -> None:
        """The peer does not know a code above 7, which one can live without."""

    def echo_reply(self, packet: ControlPacket) -> None:
        """Answer an Echo-Request; called in the Opened state only."""

    # What the owner calls.

    @property
    def opened(self) -> bool:
        """Whether the protocol is in the Opened state."""
        return self.state is State.OPENED

    @property
    def next_deadline(self) -> float | None:
        """When `tick` is due, or None."""
        return self._deadline

    def take_steps(self) -> list[bytes | Signal]:
        """Packets to send and signals to the layer above, in the order in which they arose."""
        steps, self._steps = self._steps, []
        return steps

    def up(self, now: float) -> None:
        """The layer below can carry packets."""
        self._drive(FsmEvent.UP, now)

    def down(self, now: float) -> None:
        """The layer below cannot carry packets any more."""
        self._drive(FsmEvent.DOWN, now)

    def open(self, now: float) -> None:
        """Let the protocol be opened."""
        self._drive(FsmEvent.OPEN, now)

    def close(self, now: float) -> None:
        """End the protocol: with Terminate-Requests where the peer may think it open."""
        self._drive(FsmEvent.CLOSE, now)

    def fail(self, reason: str, now: float) -> None:
        """Close, and keep the first reason."""
        self._doom(reason)
        self._settle(now)

    def reject(self, now: float) -> None:
        """The peer sent a Protocol-Reject for this protocol."""
        self._keep(f"the peer does not speak {self.name} (Protocol-Reject)")
        self._drive(FsmEvent.REJECT_FATAL, now)

    def tick(self, now: float) -> None:
        """Do what is due at `now`."""
        if self._deadline is not None and now >= self._deadline:
            self._drive(FsmEvent.TIMEOUT if self._count > 0 else FsmEvent.TIMEOUT_LAST, now)

    def receive(self, information: bytes, now: float) -> None:
        """Take one packet: the information field of a frame of this protocol. Never raises."""
        if self.state <= State.STARTING:
            return self._discard("layer below is down")
        packet = parse_control(information)
        if packet is None:
            return self._discard("length")
        handler = self._HANDLERS.get(packet.code)
        if handler is None:
            self._drive(self.extension(packet, now), now, packet)
        else:
            handler(self, packet, now)
        self._settle(now)

    # Packets received.

    def _configure_request(self, packet: ControlPacket, now: float) -> None:
        options = parse_options(packet.data)
        if options is None:
            return self._discard("options")
        self._heard = True
        if self.state in (State.CLOSED, State.CLOSING, State.STOPPING):
            return self._drive(FsmEvent.REQUEST_GOOD, now, packet)
        if self.state not in NEGOTIATING:
            self._renew()
        code, data = self._verdict(options, packet.data)
        self._answer = ControlPacket(code, packet.identifier, data).encode()
        if code == control.CONFIGURE_ACK:
            self._naks_sent = self._refusals_sent = 0
            self.accepted()
            self._drive(FsmEvent.REQUEST_GOOD, now, packet)
        else:
            self._refusals_sent += 1
            if code == control.CONFIGURE_NAK:
                self._naks_sent += 1
            if self._refusals_sent > REFUSALS:
                self._doom(f"{self.name}: the peer insists on options that cannot be had: {self._refused_text()}")
            self._drive(FsmEvent.REQUEST_BAD, now, packet)

    def _verdict(self, options: Sequence[Option], data: bytes) -> tuple[int, bytes]:
        """Ack, Nak or Reject, and the options that it lists (RFC 1661 sections 5.2 to 5.4)."""
        self.judging()
        naks: list[Option] = []
        asked: list[Option] = []
        rejects: list[Option] = []
        types: set[int] = set()
        for option in options:
            answer = Reject("listed twice") if option.type in types else self.judge(option)
            types.add(option.type)
            if isinstance(answer, Reject):
                rejects.append(option)
                self._note_refusal(option.type, answer.why)
            elif isinstance(answer, Option):
                naks.append(answer)
                asked.append(option)
        if rejects:
            return control.CONFIGURE_REJECT, encode_options(rejects)
        # Past Max-Failure what was Nakked is rejected, and nothing is appended any more (RFC 1661 section 4.6).
        if self._naks_sent >= self._timing.max_failure:
            for option in asked:
                self._note_refusal(option.type, "no value found that both sides take")
            return (control.CONFIGURE_REJECT, encode_options(asked)) if asked else (control.CONFIGURE_ACK, data)
        naks.extend(self.missing(frozenset(types)))
        return (control.CONFIGURE_NAK, encode_options(naks)) if naks else (control.CONFIGURE_ACK, data)

    def _configure_answer(self, packet: ControlPacket, now: float) -> None:
        """An Ack, Nak or Reject: only the answer to the last request counts.

        The same answer again is a copy that the line made. A different one to an answered request is the crossed
        connection of RFC 1661 section 4.3, and goes to the table.
        """
        if packet == self._spent:
            self._learn_round_trip()
        if packet.identifier != self._request_id:
            return self._discard("identifier")
        if self._answered and packet == self._answered_by:
            return self._discard("duplicate")
        if packet.code == control.CONFIGURE_ACK:
            if packet.data != self._request_data:
                return self._discard("options")
            self._heard = True
            self._refusals_heard = 0
            self._spend(packet, now)
            if self.state in (State.REQ_SENT, State.ACK_SENT):
                self._acks_heard += 1
                if self._acks_heard > self._timing.max_configure:
                    # An Ack starts the counter anew, so the table alone would go round for ever.
                    self._doom(f"{self.name}: the peer acknowledges requests and never sends one that can be had")
                self.agreed()
            return self._drive(FsmEvent.ACK, now, packet)
        options = parse_options(packet.data)
        if not options or not self._fits(packet.code, options):
            return self._discard("options")
        self._heard = True
        self._spend(packet, now)
        if self.state in (State.REQ_SENT, State.ACK_SENT):
            self._refusals_heard += 1
            if self._refusals_heard > REFUSALS:
                self._doom(f"{self.name}: the peer refuses every request")
            drop = self._refusals_heard > self._timing.max_failure
            for option in options:
                if packet.code == control.CONFIGURE_REJECT:
                    self.rejected(option)
                else:
                    self.naked(option, drop)
        self._drive(FsmEvent.NAK, now, packet)

    def _fits(self, code: int, options: Sequence[Option]) -> bool:
        """Whether a Reject lists options of our request as we sent them, in their order (RFC 1661 section 5.4)."""
        if code == control.CONFIGURE_NAK:
            return True
        ours = iter(parse_options(self._request_data) or ())
        return all(option in ours for option in options)

    def _spend(self, packet: ControlPacket, now: float) -> None:
        self._answered = True
        self._answered_by = packet
        self._request_fresh = False
        self._spent = packet if self._transmissions > 1 else None
        self._spent_after = now - self._first_sent

    def _learn_round_trip(self) -> None:
        """A repeated request was answered twice: it was not lost, the round trip is longer than the restart timer.

        RFC 1661 section 4.6 leaves the timer to the speed of the link. Without this, requests repeated too early
        reach a peer that is open already, and both begin anew for ever.
        """
        self._restart = min(max(self._restart, 1.5 * self._spent_after), _LONGEST * self._timing.restart)
        self._first = max(self._first, 1.5 * self._spent_after)
        self._spent = None
        if self._deadline is not None and self.state in NEGOTIATING:
            self._deadline = max(self._deadline, self._last_sent + self._restart)

    def _terminate_request(self, packet: ControlPacket, now: float) -> None:
        self._heard = True
        text = packet.data[:80].decode("utf-8", "replace")
        said = f"the peer closed {self.layer}" + (f": {text}" if text and text.isprintable() else "")
        if self.opened:
            self._keep(said)
        elif self.state in NEGOTIATING:
            self._peer_said = f" ({said})"
        self._drive(FsmEvent.TERMINATE, now, packet)

    def _terminate_ack(self, packet: ControlPacket, now: float) -> None:
        self._heard = True
        if self.state is State.CLOSING and self.parts_at_once:
            self.send(control.TERMINATE_ACK, packet.identifier, b"")
        self._drive(FsmEvent.TERMINATE_ACK, now, packet)

    def _code_reject(self, packet: ControlPacket, now: float) -> None:
        if not packet.data:
            return self._discard("length")
        if control.CONFIGURE_REQUEST <= packet.data[0] <= control.CODE_REJECT:
            name = control.CODE_NAMES.get(packet.data[0], str(packet.data[0]))
            self._keep(f"the peer does not know {self.name}'s {name} (Code-Reject)")
            self._drive(FsmEvent.REJECT_FATAL, now, packet)
        else:
            self.code_rejected(packet.data[0])
            self._drive(FsmEvent.REJECT_MILD, now, packet)

    _HANDLERS: ClassVar = {
        control.CONFIGURE_REQUEST: _configure_request,
        control.CONFIGURE_ACK: _configure_answer,
        control.CONFIGURE_NAK: _configure_answer,
        control.CONFIGURE_REJECT: _configure_answer,
        control.TERMINATE_REQUEST: _terminate_request,
        control.TERMINATE_ACK: _terminate_ack,
        control.CODE_REJECT: _code_reject,
    }

    # The automaton.

    def _drive(self, event: FsmEvent, now: float, packet: ControlPacket | None = None) -> None:
        cell = TRANSITIONS.get((event, self.state))
        if cell is None:
            return
        if event is FsmEvent.TIMEOUT_LAST and self.state in NEGOTIATING:
            self.gave_up = True
            if not self._passive:
                self._keep(self._why_no_end())
        leaves_rest = self.state not in NEGOTIATING and event not in (FsmEvent.REQUEST_GOOD, FsmEvent.REQUEST_BAD)
        if leaves_rest and Action.SEND_REQUEST in cell.actions:
            self._renew()
        for action in cell.actions:
            if action is Action.LAYER_FINISHED and cell.mark == "p" and self._passive:
                continue  # RFC 1661 section 4.2, Stopped: a passive side waits for the peer's first word.
            self._act(action, now, packet)
        self.state = cell.next
        if self.state not in TIMED:
            self._deadline = None

    def _act(self, action: Action, now: float, packet: ControlPacket | None) -> None:
        if action in _SIGNALS:
            if action is Action.LAYER_UP:
                self._refusals_heard = self._refusals_sent = self._naks_sent = self._acks_heard = 0
            self._steps.append(_SIGNALS[action])
        elif action is Action.INIT_COUNT:
            # Close and a fatal Code-Reject begin termination; every other use begins configuration.
            self._count = self._timing.max_configure
        elif action is Action.ZERO_COUNT:
            self._count = 0
            self._deadline = now + self._timing.restart
        elif action is Action.SEND_REQUEST:
            self._send_request(now)
        elif action is Action.SEND_TERMINATE:
            self._send_terminate(now)
        elif action in (Action.SEND_ACK, Action.SEND_NAK):
            assert self._answer is not None
            self._steps.append(self._answer)
        elif packet is not None:
            if action is Action.SEND_TERMINATE_ACK:
                self.send(control.TERMINATE_ACK, packet.identifier, b"")
            elif action is Action.SEND_CODE_REJECT:
                self.send(control.CODE_REJECT, self.fresh_identifier(), packet.encode())
            elif packet.code == control.ECHO_REQUEST:
                self.echo_reply(packet)

    def _send_request(self, now: float) -> None:
        """A retransmission keeps its identifier, so that the answer to any copy of it counts (RFC 1661 section 5.1)."""
        if not self._request_fresh:
            self._request_data = encode_options(self.wanted())
            self._request_id = self.fresh_identifier()
            self._request_fresh = True
            self._answered = False
            self._first_sent = now
            self._transmissions = 0
        self.send(control.CONFIGURE_REQUEST, self._request_id, self._request_data)
        self._transmissions += 1
        self._last_sent = now
        self._count -= 1
        # RFC 1661 section 4.6 lets the timer begin low and double: a peer that opened its port a moment after us
        # has missed the first request.
        wait = min(self._restart, self._first * (1 << self._transmissions - 1))
        self._deadline = now + max(self.least_wait, wait)

    def _send_terminate(self, now: float) -> None:
        if self.state not in (State.CLOSING, State.STOPPING):
            self._count = self._timing.max_terminate
            self._terminate_id = self.fresh_identifier()
        self.send(control.TERMINATE_REQUEST, self._terminate_id, (self.failure or "").encode()[:80])
        self._count -= 1
        self._deadline = now + max(self.least_wait, self._timing.restart)

    def send(self, code: int, identifier: int, data: bytes) -> None:
        """Put a packet among the steps; data beyond the peer's MRU is cut off."""
        self._steps.append(ControlPacket(code, identifier, data[: self.peer_mru - control.HEADER]).encode())

    def fresh_identifier(self) -> int:
        """The next identifier for a packet of ours."""
        self._identifier = self._identifier + 1 & 0xFF
        return self._identifier

    def _renew(self) -> None:
        """A negotiation begins, from rest or anew."""
        self._request_fresh = False
        self._answered = False
        self._request_id = -1
        self._naks_sent = self._refusals_sent = self._refusals_heard = self._acks_heard = 0
        self._heard = self.gave_up = False
        self._peer_said = ""
        self.reset()

    def _keep(self, reason: str) -> None:
        if self.failure is None:
            self.failure = reason

    def _doom(self, reason: str) -> None:
        """Keep the reason and close as soon as the event at hand is done with."""
        self._keep(reason)
        self._fatal = True

    def _settle(self, now: float) -> None:
        if self._fatal:
            self._fatal = False
            self._drive(FsmEvent.CLOSE, now)

    def _discard(self, reason: str) -> None:
        self.discarded[reason] = self.discarded.get(reason, 0) + 1

    def _note_refusal(self, type_: int, why: str) -> None:
        self.refused[self.option_name(type_)] = why

    def option_name(self, type_: int) -> str:
        """What people call an option of this protocol."""
        return f"option {type_}"

    def _why_no_end(self) -> str:
        if not self._heard:
            return f"{self.name}: no answer to {self._timing.max_configure} Configure-Requests"
        refused = f"; refused here: {self._refused_text()}" if self.refused else ""
        return f"{self.name}: the negotiation did not come to an end{self._peer_said}{refused}"

    def _refused_text(self) -> str:
        return "; ".join(f"{name} ({why})" for name, why in self.refused.items()) or "none was named"


_SIGNALS = {
    Action.LAYER_UP: Signal.UP,
    Action.LAYER_DOWN: Signal.DOWN,
    Action.LAYER_STARTED: Signal.STARTED,
    Action.LAYER_FINISHED: Signal.FINISHED,
}
