"""The PPP automata (RFC 1661)."""
