"""IAM policy documents: their statements, and which requests each one is about.

Sources: IAM User Guide, "IAM JSON policy elements reference" and "IAM policy elements: Variables and tags".
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ops.rehearsal.iam.conditions import PATTERNS, Keys, arn_like, holds, like, parse
from ops.rehearsal.iam.errors import UndecidableError

ELEMENTS = frozenset(
    {"Sid", "Effect", "Principal", "NotPrincipal", "Action", "NotAction", "Resource", "NotResource", "Condition"}
)
# How a statement names whom it is for: the session or user itself, its role or everybody, or its whole account.
Naming = Literal["itself", "role", "account"]


@dataclass(frozen=True)
class Who:
    """What the `Principal` of a statement is compared with.

    `arn` is a user's, a session's, an OIDC provider's, or the name of a service (`ecs-tasks.amazonaws.com`); `role` is
    the role's ARN of a session; `account` is empty for services and providers.
    """

    arn: str
    account: str = ""
    role: str = ""
    kind: Literal["user", "role", "service", "federated"] = "user"


@dataclass(frozen=True)
class Statement:
    """One statement; `policy` and `sid` are how a person finds it."""

    policy: str
    sid: str
    effect: Literal["Allow", "Deny"]
    actions: tuple[str, ...]
    not_actions: bool
    resources: tuple[str, ...] | None
    not_resources: bool
    principals: tuple[tuple[str, tuple[str, ...]], ...] | None
    not_principals: bool
    conditions: tuple[tuple[str, str, tuple[str, ...]], ...]

    @property
    def place(self) -> str:
        """Where it stands, in words."""
        return f"{self.sid} of {self.policy}"

    def action(self, action: str) -> str | None:
        """Return the pattern of `Action` that covers an action, or None. What `NotAction` leaves is `NotAction`."""
        found = _covering(self.actions, action.lower())
        if self.not_actions:
            return None if found else "NotAction"
        return found[0] if found else None

    def patterns(self, action: str) -> list[str]:
        """Return every pattern of `Action` that covers an action."""
        if self.not_actions:
            return ["NotAction"] if self.action(action) else []
        return list(_covering(self.actions, action.lower()))

    def resource(self, resource: str, keys: Keys) -> bool:
        """Tell whether `Resource` covers an ARN, or `*` for an action that knows no resources."""
        if self.resources is None:
            return True  # a trust policy, which is about the role that has it
        for pattern in self.resources:
            expanded = substitute(pattern, keys, pattern=True)
            if expanded is not None and arn_like(expanded, resource):
                return not self.not_resources
        return self.not_resources

    def failing(self, keys: Keys) -> str | None:
        """Return the first condition that does not hold, in words, or None."""
        for operator, key, wanted in self.conditions:
            patterns = parse(operator)[1] in PATTERNS
            expanded = [substitute(value, keys, pattern=patterns) for value in wanted]
            if not holds(operator, key, [value for value in expanded if value is not None], keys):
                given = keys.get(key)
                shown = "absent" if given is None else given if isinstance(given, str) else ", ".join(given)
                return f"{operator} {key} = {' | '.join(wanted)}, and it is {shown}"
        return None

    def names(self, who: Who) -> Naming | None:
        """Say how `Principal` names somebody; None when it does not. Only for policies of resources."""
        if self.principals is None:
            return None
        found = _naming(self.principals, who)
        if self.not_principals:
            return "role" if found is None else None
        return found


@functools.lru_cache(maxsize=20_000)
def _covering(patterns: tuple[str, ...], action: str) -> tuple[str, ...]:
    """Return the patterns that cover an action, which is in lower case."""
    return tuple(pattern for pattern in patterns if like(pattern.lower(), action))


def _naming(principals: tuple[tuple[str, tuple[str, ...]], ...], who: Who) -> Naming | None:
    best: Naming | None = None
    for kind, names in principals:
        for name in names:
            if name == "*" and kind in ("*", "AWS"):
                best = best or "role"
            elif kind == "Service":
                if who.kind == "service" and name == who.arn:
                    return "itself"
            elif kind == "Federated":
                if who.kind == "federated" and name == who.arn:
                    return "itself"
            elif kind == "AWS" and who.account:
                if name == who.arn:
                    return "itself"
                if who.role and name == who.role:
                    best = "role"
                elif name == who.account or re.fullmatch(rf"arn:[^:]+:iam::{who.account}:root", name):
                    best = best or "account"
    return best


class Policy:
    """A policy document under a name.

    Raises UndecidableError for an element, an effect or a condition operator that is not known.
    """

    def __init__(self, name: str, document: str | Mapping[str, Any]) -> None:
        self.name = name
        self.statements = tuple(_statements(name, document))

    def __repr__(self) -> str:
        return f"Policy({self.name!r})"


@functools.lru_cache(maxsize=5000)
def read(name: str, text: str) -> Policy:
    """Return the policy of a JSON text; the same text is read once."""
    return Policy(name, text)


def statements(document: str | Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the statements of a policy document as they are, whether it has one or a list of them."""
    policy = json.loads(document) if isinstance(document, str) else document
    return list(as_list(policy.get("Statement", [])))


def as_list(value: Any) -> list[Any]:
    """Return what may be one thing or a list of them, as a list."""
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _statements(name: str, document: str | Mapping[str, Any]) -> Iterator[Statement]:
    for number, raw in enumerate(statements(document), 1):
        sid = str(raw.get("Sid") or f"statement {number}")
        if unknown := sorted(set(raw) - ELEMENTS):
            raise UndecidableError(f"element {', '.join(unknown)} in {sid} of {name}")
        if raw.get("Effect") not in ("Allow", "Deny"):
            raise UndecidableError(f"Effect {raw.get('Effect')!r} in {sid} of {name}")
        for one, other in (("Action", "NotAction"), ("Resource", "NotResource"), ("Principal", "NotPrincipal")):
            if one in raw and other in raw:
                raise UndecidableError(f"{one} beside {other} in {sid} of {name}")
        conditions = tuple(
            (operator, str(key), tuple(_text(value) for value in as_list(values)))
            for operator, keys in raw.get("Condition", {}).items()
            for key, values in keys.items()
        )
        for operator, _, _ in conditions:
            parse(operator)
        declared = raw.get("Principal", raw.get("NotPrincipal"))
        principals = None
        if declared is not None:
            groups = {"*": "*"} if declared == "*" else declared
            principals = tuple((kind, tuple(str(n) for n in as_list(names))) for kind, names in groups.items())
        resources = raw.get("Resource", raw.get("NotResource"))
        yield Statement(
            policy=name,
            sid=sid,
            effect=raw["Effect"],
            actions=tuple(str(a) for a in as_list(raw.get("Action", raw.get("NotAction", [])))),
            not_actions="NotAction" in raw,
            resources=None if resources is None else tuple(str(r) for r in as_list(resources)),
            not_resources="NotResource" in raw,
            principals=principals,
            not_principals="NotPrincipal" in raw,
            conditions=conditions,
        )


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


_VARIABLE = re.compile(r"\$\{([^}]*)\}")


def substitute(text: str, keys: Keys, *, pattern: bool) -> str | None:
    """Put the request's values in the place of policy variables; None when one of them is not there.

    With `pattern` the text is going to be matched with wildcards. A value with an asterisk or a question mark in it can't be
    told from a pattern then: `UndecidableError`.
    """
    if "${" not in text:
        return text
    missing = False

    def value(match: re.Match[str]) -> str:
        nonlocal missing
        name, _, default = (part.strip() for part in match[1].partition(","))
        if name in ("*", "?", "$"):
            if pattern and name != "$":
                raise UndecidableError(f"policy variable {match[0]} in a pattern")
            return name
        found = keys.get(name)
        if isinstance(found, tuple):
            raise UndecidableError(f"policy variable {match[0]}, which has several values")
        if found is None:
            if not default:
                missing = True
                return ""
            found = default.strip("'")
        if pattern and re.search(r"[*?]", found):
            raise UndecidableError(f"policy variable {match[0]}, whose value {found!r} has a wildcard in it")
        return found

    expanded = _VARIABLE.sub(value, text)
    return None if missing else expanded


def everything_on_everything(document: str | Mapping[str, Any]) -> list[str]:
    """Return the statements that allow every action on every resource without any condition."""
    return [
        statement.sid
        for statement in Policy("", document).statements
        if statement.effect == "Allow"
        and not statement.conditions
        and (statement.not_actions or "*" in statement.actions)
        and (statement.not_resources or "*" in (statement.resources or ()))
    ]
