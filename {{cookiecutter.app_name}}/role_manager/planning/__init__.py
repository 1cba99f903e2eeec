"""Compares the catalog with the desired state: the changes that make them equal, in order.

Each subject is a module of generator functions, which yield a :class:`Change` for what can be made so and a
:class:`Blocked` for what cannot. The README has the rules as one table: what is watched, and what is done about it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from role_manager.catalog import IAM_GROUP, Catalog
from role_manager.desired import DesiredState
from role_manager.planning import grants, ownership, roles
from role_manager.planning.authority import Authority
from role_manager.planning.steps import Blocked, Change, Plan
from role_manager.sql import identifier

__all__ = ["Blocked", "Change", "Plan", "make_plan"]


def make_plan(desired: DesiredState, catalog: Catalog) -> Plan:
    """Compare the desired state with the catalog; reads nothing else and changes nothing."""
    authority = Authority(desired, catalog)
    if reasons := list(authority.unfit()):
        return Plan((), tuple(reasons))
    found: list[Change | Blocked] = [
        *roles.create(authority),
        *roles.memberships(authority),
        *roles.attributes(authority),
        *ownership.database(authority),
        *ownership.schemas(authority),
        *ownership.extensions(authority),
        *ownership.objects(authority),
        *ownership.elsewhere(authority),
        *ownership.foreign_code(authority),
        *roles.iam_logins(authority),
        *grants.objects(authority),
        *grants.defaults(authority),
        *roles.settings(authority),
    ]
    changes = [item for item in found if isinstance(item, Change)]
    retirement = [*roles.retire(authority)]
    ordered = (
        *(change for change in changes if change.early),
        *_with_memberships(authority, [change for change in changes if not change.early]),
        *(item for item in retirement if isinstance(item, Change)),
    )
    return Plan(
        ordered,
        tuple(dict.fromkeys(item for item in (*found, *retirement) if isinstance(item, Blocked))),
        iam_logins=IAM_GROUP in catalog.roles,
        locks=catalog.server["locks"],
        uncertain=frozenset(authority.uncertain),
    )


def _with_memberships(authority: Authority, changes: Sequence[Change]) -> Iterator[Change]:
    """Add the memberships that a master without superuser needs while it changes things.

    They end before the transaction does: on RDS a member of a member of rds_iam, even for a moment after
    commit, could not log in with its password any more.
    """
    me = identifier(authority.me.name)
    options, by = ("", "") if not authority.sixteen else (" WITH INHERIT TRUE, SET TRUE", f" GRANTED BY {me}")
    needed = sorted({role for change in changes for role in change.needs} - authority.direct)
    listed, what = ", ".join(map(identifier, needed)), f"memberships of {authority.me.name} in {', '.join(needed)}"
    if needed:
        words = ("not a member", "a member for the next changes; revoked again below")
        yield Change(what, *words, f"GRANT {listed} TO {me}{options}", temporary=True)
    yield from changes
    if needed:
        words = ("a member for the changes above", "not a member")
        yield Change(what, *words, f"REVOKE {listed} FROM {me}{by}", temporary=True)
