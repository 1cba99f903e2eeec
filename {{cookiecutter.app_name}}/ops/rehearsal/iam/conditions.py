"""Condition operators of IAM policies.

Sources, all in the IAM User Guide: "IAM JSON policy elements: Condition operators", "Set operators for multivalued
context keys", "Conditions with multiple context keys or values". In short: several values of one key are alternatives
(for a negated operator: none of them); a negated operator and `IfExists` hold for a key that is not there; `ForAllValues`
holds for no values at all, `ForAnyValue` does not; every operator and every key of a statement has to hold.
"""

from __future__ import annotations

import base64
import functools
import ipaddress
import re
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Protocol

from ops.rehearsal.iam.errors import UndecidableError

Value = str | tuple[str, ...]


class Keys(Protocol):
    """Condition keys of a request."""

    def get(self, key: str, /) -> Value | None:
        """Return a key's value, several values, or None when the request has no such key."""


def like(pattern: str, value: str) -> bool:
    """Match a pattern of `*` and `?`; nothing else is special."""
    return _glob(pattern).fullmatch(value) is not None


def arn_like(pattern: str, value: str) -> bool:
    """Match ARNs: the first five parts each for themselves, so that `*` does not cross a colon there."""
    return _arn(pattern).fullmatch(value) is not None


@functools.lru_cache(maxsize=10_000)
def _glob(pattern: str) -> re.Pattern[str]:
    return re.compile(_translated(pattern, "."), re.DOTALL)


@functools.lru_cache(maxsize=10_000)
def _arn(pattern: str) -> re.Pattern[str]:
    parts = pattern.split(":", 5)
    if len(parts) < 6:  # "*" is everything, and an ARN without all its parts is none
        return _glob(pattern if parts[0] != "arn" else "")
    first = [_translated(part, "[^:]") for part in parts[:5]]
    return re.compile(":".join([*first, _translated(parts[5], ".")]), re.DOTALL)


def _translated(pattern: str, anything: str) -> str:
    words = {"*": f"{anything}*", "?": anything}
    return "".join(words.get(part, re.escape(part)) for part in re.split(r"([*?])", pattern))


def _number(given: str, wanted: str, compare: Callable[[float, float], bool]) -> bool:
    try:
        return compare(float(given), float(wanted))
    except ValueError:
        return False


def _date(given: str, wanted: str, compare: Callable[[float, float], bool]) -> bool:
    try:
        return compare(_seconds(given), _seconds(wanted))
    except ValueError:
        return False


def _seconds(moment: str) -> float:
    if re.fullmatch(r"\d+(\.\d+)?", moment):
        return float(moment)
    found = datetime.fromisoformat(moment)
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()


def _address(given: str, wanted: str) -> bool:
    try:
        return ipaddress.ip_address(given) in ipaddress.ip_network(wanted, strict=False)
    except ValueError:
        return False


def _binary(given: str, wanted: str) -> bool:
    try:
        return base64.b64decode(given) == base64.b64decode(wanted)
    except ValueError:
        return False


_COMPARISONS: dict[str, Callable[[float, float], bool]] = {
    "Equals": float.__eq__,
    "LessThan": float.__lt__,
    "LessThanEquals": float.__le__,
    "GreaterThan": float.__gt__,
    "GreaterThanEquals": float.__ge__,
}

# Every operator that is not negated: whether what is given fits what is wanted.
_FITS: dict[str, Callable[[str, str], bool]] = {
    "StringEquals": str.__eq__,
    "StringEqualsIgnoreCase": lambda given, wanted: given.casefold() == wanted.casefold(),
    "StringLike": lambda given, wanted: like(wanted, given),
    "ArnEquals": lambda given, wanted: arn_like(wanted, given),
    "ArnLike": lambda given, wanted: arn_like(wanted, given),
    "Bool": lambda given, wanted: given.lower() == wanted.lower(),
    "BinaryEquals": _binary,
    "IpAddress": _address,
    **{f"Numeric{name}": functools.partial(_number, compare=compare) for name, compare in _COMPARISONS.items()},
    **{f"Date{name}": functools.partial(_date, compare=compare) for name, compare in _COMPARISONS.items()},
}
_NEGATED = {
    "StringNotEquals": "StringEquals",
    "StringNotEqualsIgnoreCase": "StringEqualsIgnoreCase",
    "StringNotLike": "StringLike",
    "ArnNotEquals": "ArnEquals",
    "ArnNotLike": "ArnLike",
    "NotIpAddress": "IpAddress",
    "NumericNotEquals": "NumericEquals",
    "DateNotEquals": "DateEquals",
}
# In the values of these an asterisk is a wildcard, so what a policy variable stands for must not become one.
PATTERNS = frozenset({"StringLike", "StringNotLike", "ArnEquals", "ArnLike", "ArnNotEquals", "ArnNotLike"})


@functools.lru_cache(maxsize=1000)
def parse(operator: str) -> tuple[str, str, bool]:
    """Split an operator into its set operator (or ""), its name and whether it ends in IfExists.

    Raises UndecidableError for one that IAM does not have, or that is not known here.
    """
    quantifier, _, name = operator.rpartition(":")
    optional = name.endswith("IfExists") and name != "NullIfExists"
    base = name.removesuffix("IfExists") if optional else name
    if quantifier not in ("", "ForAllValues", "ForAnyValue") or (base != "Null" and base not in (*_FITS, *_NEGATED)):
        raise UndecidableError(f"condition operator {operator}")
    return quantifier, base, optional


def holds(operator: str, key: str, wanted: Sequence[str], keys: Keys) -> bool:
    """Tell whether one operator holds for one key of a request.

    Raises UndecidableError for an operator that is not known, and where a key has several values but the policy asks
    without `ForAllValues` or `ForAnyValue`, which IAM leaves undefined.
    """
    quantifier, base, optional = parse(operator)
    given = keys.get(key)
    if base == "Null":
        return (given is None) == (wanted[0].lower() == "true")
    negated = base in _NEGATED
    fits = _FITS[_NEGATED.get(base, base)]

    def satisfied(value: str) -> bool:
        return any(fits(value, candidate) for candidate in wanted) is not negated

    if quantifier:
        values: Iterable[str] = () if given is None else (given,) if isinstance(given, str) else given
        if quantifier == "ForAllValues":
            return all(satisfied(value) for value in values)
        return any(satisfied(value) for value in values) or (optional and given is None)
    if given is None:
        return negated or optional
    if not isinstance(given, str):
        raise UndecidableError(
            f"{key} has several values, and {operator} says nothing of them (ForAnyValue, ForAllValues)"
        )
    return satisfied(given)
