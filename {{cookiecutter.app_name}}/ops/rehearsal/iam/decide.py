"""Decides one request from every policy that has a word in it.

Source: IAM User Guide, "Policy evaluation logic" with its pages on a single account, on several accounts and on permissions
boundaries. In short: an explicit deny anywhere wins. Within an account either the identity's policies allow, inside its
boundary and session policies, or the resource's policy allows the principal by itself; between accounts both have to. What a
resource's policy gives to a role is still limited by boundary and session policies; what it gives to a session or a user by
its own ARN is not. Naming the account hands the decision to that account's identity policies. Keys of KMS and roles
that are assumed are decided by their own policies first: identity policies count only where these name the account.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ops.rehearsal.iam.conditions import Keys, Value
from ops.rehearsal.iam.policy import Policy, Statement, Who

LAYERS = {
    "identity": "identity-based policy",
    "boundary": "permissions boundary",
    "session": "session policy",
    "resource": "resource-based policy",
    "endpoint": "VPC endpoint policy",
}


@dataclass(frozen=True)
class Principal:
    """Who asks, with the policies that are its own.

    `boundary` and `session` are None where there is none; every policy of `session` is one limit with the others.
    """

    who: Who
    identity: tuple[Policy, ...] = ()
    boundary: Policy | None = None
    session: tuple[Policy, ...] | None = None


@dataclass(frozen=True)
class Ask:
    """One action on one resource, with the keys of the request and the policies on its way.

    `resource` is an ARN, or `*` for an action that knows no resources; `account` owns it. `resource_policy` is None where
    the resource has none. `rules_itself`: its policy must allow, whatever identities may (KMS, trust). `grant` names
    a KMS grant that admits the principal. `of`, `code`, `hides`: see exceptions.Row.
    """

    action: str
    resource: str
    keys: Keys
    account: str = ""
    resource_policy: Policy | None = None
    rules_itself: bool = False
    endpoint_policy: Policy | None = None
    grant: str | None = None
    of: str = ""
    code: str = ""
    hides: str = ""


@dataclass(frozen=True)
class Allows:
    """A statement that allows, and the pattern of its `Action` that covers what is asked."""

    policy: str
    sid: str
    pattern: str


@dataclass(frozen=True)
class Decision:
    """What IAM says, and why: `because` in AWS's words, `nearest` where it would have had to say yes.

    `by` has, for each kind of policy, everything that allows. `resource_alone`: the resource's policy suffices.
    """

    allowed: bool
    because: str
    nearest: str = ""
    by: Mapping[str, tuple[Allows, ...]] = field(default_factory=dict)
    resource_alone: bool = False


def decide(principal: Principal, ask: Ask) -> Decision:
    """Decide a request. Raises UndecidableError for what is not known here."""
    layers: dict[str, tuple[Policy, ...] | None] = {
        "identity": principal.identity,
        "boundary": None if principal.boundary is None else (principal.boundary,),
        "session": principal.session,
        "resource": None if ask.resource_policy is None else (ask.resource_policy,),
        "endpoint": None if ask.endpoint_policy is None else (ask.endpoint_policy,),
    }
    who = principal.who
    for layer, policies in layers.items():
        for statement in _about(policies or (), ask, "Deny"):
            if layer in ("resource", "endpoint") and statement.names(who) is None:
                continue
            if statement.failing(ask.keys) is None:
                words = LAYERS[layer]
                an = "an" if words[0] in "aeiou" else "a"
                return Decision(False, f"with an explicit deny in {an} {words}", f"{statement.place} denies it")
    by: dict[str, tuple[Allows, ...]] = {}
    naming: set[str] = {"itself"} if ask.grant else set()
    for layer, policies in layers.items():
        found = []
        for statement in _about(policies or (), ask, "Allow"):
            if layer in ("resource", "endpoint"):
                named = statement.names(who)
                if named is None or statement.failing(ask.keys) is not None:
                    continue
                if layer == "resource":
                    naming.add(named)
            elif statement.failing(ask.keys) is not None:
                continue
            found += [Allows(statement.policy, statement.sid, one) for one in statement.patterns(ask.action)]
        by[layer] = tuple(found)
    limits = [layer for layer in ("boundary", "session") if layers[layer] is not None and not by[layer]]
    same_account = not who.account or not ask.account or who.account == ask.account
    alone = "itself" in naming or ("role" in naming and not limits)
    missing = _missing(principal, ask, by, limits, naming, alone=alone, same_account=same_account)
    if missing is None and ask.endpoint_policy is not None and not by["endpoint"]:
        missing = "endpoint"
    if missing is None:
        return Decision(True, "allowed", by=by, resource_alone=alone and same_account)
    words = LAYERS[missing]
    return Decision(
        False,
        f"because no {words} allows the {ask.action} action",
        _nearest(layers[missing] or (), ask, who, of_resource=missing in ("resource", "endpoint")),
        by=by,
    )


def _missing(
    principal: Principal,
    ask: Ask,
    by: Mapping[str, tuple[Allows, ...]],
    limits: list[str],
    naming: set[str],
    *,
    alone: bool,
    same_account: bool,
) -> str | None:
    """Return the kind of policy that would have to allow and does not."""
    if principal.who.kind in ("service", "federated"):
        return None if "itself" in naming or "role" in naming else "resource"
    if alone and same_account:
        return None
    if ask.rules_itself and not naming:
        return "resource"
    if not by["identity"]:
        return "identity"
    if limits:
        return limits[0]
    return None if same_account or naming else "resource"


def _about(policies: Iterable[Policy], ask: Ask, effect: str) -> Iterator[Statement]:
    for policy in policies:
        for statement in policy.statements:
            if (
                statement.effect == effect
                and statement.action(ask.action) is not None
                and statement.resource(ask.resource, ask.keys)
            ):
                yield statement


def _nearest(policies: Iterable[Policy], ask: Ask, who: Who, *, of_resource: bool) -> str:
    """Name the statement that comes nearest to allowing, and what it lacks."""
    service = ask.action.partition(":")[0].lower()
    best, said = 0, ""
    for policy in policies:
        for statement in policy.statements:
            if statement.effect != "Allow":
                continue
            action, resource = statement.action(ask.action), statement.resource(ask.resource, ask.keys)
            if action and resource and of_resource and statement.names(who) is None:
                near, lacks = 4, "is for other principals"
            elif action and resource:
                near, lacks = 5, f"asks for {statement.failing(ask.keys)}"
            elif action:
                near, lacks = 3, f"is about {_few(statement.resources or ())}"
            elif resource and any(pattern.lower().startswith(service + ":") for pattern in statement.actions):
                near, lacks = 2, f"has {_few(statement.actions)}"
            elif any(pattern.lower().startswith(service + ":") for pattern in statement.actions):
                near, lacks = 1, "is about other actions and resources"
            else:
                continue
            if near > best:
                best, said = near, f"{statement.place} {lacks}"
    names = [policy.name for policy in policies]
    return said or (f"nothing in {', '.join(names)} is about {service}" if names else "there is no such policy")


def _few(values: tuple[str, ...]) -> str:
    return ", ".join(values[:4]) + (f" and {len(values) - 4} more" if len(values) > 4 else "")


class Given:
    """Condition keys as somebody states them: a key that is not stated is absent."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self.values: dict[str, Value] = {
            key.lower(): tuple(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
            for key, value in values.items()
        }

    def get(self, key: str, /) -> Value | None:
        """Return a key's value."""
        return self.values.get(key.lower())
