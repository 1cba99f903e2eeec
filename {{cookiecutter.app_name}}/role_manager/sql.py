"""Quotes names and text for SQL."""

from __future__ import annotations

# PostgreSQL stores names in 64 bytes, the last of which is a zero.
MAX_NAME_BYTES = 63


def identifier(name: str) -> str:
    """Quote a name, always, so that case, reserved words and quotes in it mean nothing."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """Quote a text constant (the connection sets standard_conforming_strings)."""
    return "'" + text.replace("'", "''") + "'"
