"""What a line has carried since it was enslaved, over all its connections."""

from __future__ import annotations

from eqlbond.core.link import Link


class LineCounters:
    """Counters of one line. Names and meanings are those of `LineStats`."""

    __slots__ = (
        "_dropped",
        "_fragments",
        "bytes_received",
        "bytes_sent",
        "connections",
        "fragments_sent",
        "lost",
        "packets_received",
        "packets_sent",
        "payload_received",
        "payload_sent",
        "reclaimed",
    )

    def __init__(self) -> None:
        self.packets_sent = self.payload_sent = self.bytes_sent = 0
        self.packets_received = self.payload_received = self.bytes_received = 0
        self.reclaimed = self.connections = 0
        self.fragments_sent = 0
        self.lost: dict[str, int] = {}
        self._dropped: dict[str, int] = {}  # by the connections that have ended
        self._fragments = (0, 0, 0)  # received, duplicates, lost; of these, too

    def received(self, packets: int, payload: int) -> None:
        """So many packets have arrived, with so many bytes of payload."""
        self.packets_received += packets
        self.payload_received += payload

    def has_lost(self, reason: str, count: int = 1) -> None:
        """Packets were lost that nothing can take back."""
        self.lost[reason] = self.lost.get(reason, 0) + count

    def ended(self, link: Link) -> None:
        """A connection has ended: what it has counted is kept."""
        self._dropped = self.dropped(link)
        self._fragments = self.fragments(link)

    def dropped(self, link: Link | None) -> dict[str, int]:
        """Received frames that were dropped, by reason, those of the present connection included."""
        dropped = dict(self._dropped)
        if link is not None:
            for reason, n in link.dropped.items():
                dropped[reason] = dropped.get(reason, 0) + n
        return dropped

    def fragments(self, link: Link | None) -> tuple[int, int, int]:
        """Multilink fragments received, duplicate, and lost, those of the present connection included."""
        counts = getattr(link, "fragments", None)
        if counts is None:
            return self._fragments
        received, duplicate, lost = self._fragments
        return received + counts.received, duplicate + counts.duplicates, lost + counts.lost
