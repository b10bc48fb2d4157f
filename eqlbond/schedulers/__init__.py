"""Policies: where each packet goes."""
