"""Quotes names and text for SQL, and reads PostgreSQL's own quoting back."""

from __future__ import annotations

# PostgreSQL stores names in 64 bytes, the last of which is a zero.
MAX_NAME_BYTES = 63


def identifier(name: str) -> str:
    """Quote a name, always, so that case, reserved words and quotes in it mean nothing."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """Quote a text constant (the connection sets standard_conforming_strings)."""
    return "'" + text.replace("'", "''") + "'"


def text_array(items: list[str]) -> str:
    """Write a text[] constant."""
    return f"ARRAY[{', '.join(map(literal, items))}]::text[]"


def split_identifiers(text: str) -> list[str] | None:
    """Split a comma-separated list of names as PostgreSQL does (the value of search_path).

    Returns None when the text is no such list.
    """
    names: list[str] = []
    rest = text.strip(" \t\n\r\f\v")
    if not rest:
        return names
    while True:
        if rest.startswith('"'):
            end = 1
            while (end := rest.find('"', end)) >= 0 and rest[end : end + 2] == '""':
                end += 2
            if end < 0:
                return None
            names.append(rest[1:end].replace('""', '"'))
            rest = rest[end + 1 :]
        else:
            end = next((i for i, c in enumerate(rest) if c in ", \t\n\r\f\v"), len(rest))
            if end == 0:
                return None
            names.append(rest[:end].lower())
            rest = rest[end:]
        rest = rest.lstrip(" \t\n\r\f\v")
        if not rest:
            return names
        if not rest.startswith(","):
            return None
        rest = rest[1:].lstrip(" \t\n\r\f\v")
