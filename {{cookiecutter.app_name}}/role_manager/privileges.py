"""Privileges: what each profile gives, how they differ from what is there, and the SQL for the difference.

Access control lists are compared as PostgreSQL keeps them, with grantors and grant options.
"""

from __future__ import annotations

import dataclasses
import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

from role_manager.catalog import Entry
from role_manager.desired import OWNER, READ_ONLY, READ_WRITE
from role_manager.sql import identifier

# What each profile may do with what is in the managed schemas, by kind of object. The owner needs no
# entry: owning is enough. Sequences: USAGE is nextval, SELECT is reading the last value.
PRIVILEGES: Mapping[str, Mapping[str, frozenset[str]]] = {
    READ_WRITE: {
        "schema": frozenset({"USAGE"}),
        "table": frozenset({"SELECT", "INSERT", "UPDATE", "DELETE"}),
        "sequence": frozenset({"USAGE", "SELECT"}),
        "routine": frozenset({"EXECUTE"}),
    },
    READ_ONLY: {
        "schema": frozenset({"USAGE"}),
        "table": frozenset({"SELECT"}),
        "sequence": frozenset({"SELECT"}),
        # Queries and views call functions. Not those that run with their owner's privileges
        # (SECURITY DEFINER): through them a reader could write.
        "routine": frozenset({"EXECUTE"}),
    },
    OWNER: {},
}
# What PUBLIC may have outside of the managed schemas: PostgreSQL's defaults, and reading.
PUBLIC_ELSEWHERE = {
    "schema": frozenset({"USAGE"}),
    "table": frozenset({"SELECT"}),
    "column": frozenset({"SELECT"}),
    "sequence": frozenset({"SELECT"}),
    "routine": frozenset({"EXECUTE"}),
    "type": frozenset({"USAGE"}),
}
OWNER_PRIVILEGES = {
    "schema": frozenset({"USAGE", "CREATE"}),
    "table": frozenset({"SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER"}),
    "sequence": frozenset({"USAGE", "SELECT", "UPDATE"}),
    "routine": frozenset({"EXECUTE"}),
    "type": frozenset({"USAGE"}),
}
_KEYWORDS = {
    "table": "TABLE",
    "sequence": "SEQUENCE",
    "routine": "ROUTINE",
    "type": "TYPE",
    "schema": "SCHEMA",
    "database": "DATABASE",
    "large object": "LARGE OBJECT",
    "language": "LANGUAGE",
    "foreign data wrapper": "FOREIGN DATA WRAPPER",
    "foreign server": "FOREIGN SERVER",
    "tablespace": "TABLESPACE",
    "parameter": "PARAMETER",
}
# Letters of pg_default_acl: https://www.postgresql.org/docs/current/catalog-pg-default-acl.html
DEFAULT_KINDS = {
    "r": ("table", "TABLES"),
    "S": ("sequence", "SEQUENCES"),
    "f": ("routine", "ROUTINES"),
    "T": ("type", "TYPES"),
    "n": ("schema", "SCHEMAS"),
    "L": ("large object", "LARGE OBJECTS"),
}
_NAMES_PER_STATEMENT = 1000

_T = TypeVar("_T")


@dataclasses.dataclass(frozen=True)
class Change:
    """One step of a plan: what it changes, why, and the SQL.

    `needs` are the roles whose privileges the statement needs; :func:`make_plan` arranges them with
    changes that are `temporary`: they come and go within the plan.
    """

    object: str
    reason: str
    sql: str
    needs: frozenset[str] = frozenset()
    temporary: bool = False


@dataclasses.dataclass(frozen=True)
class Target:
    """Objects of one kind with equal privileges, and which privileges they should have.

    `required` must be there, `allowed` may be; privileges of grantees that are not `watched` are not
    judged. `inside`: they are in the managed schemas.
    """

    kind: str
    schema: str
    names: tuple[str, ...]
    owner: str
    entries: tuple[Entry, ...]
    watched: Callable[[str], bool]
    label: str
    required: Mapping[str, frozenset[str]] = dataclasses.field(default_factory=dict)
    allowed: Mapping[str, frozenset[str]] = dataclasses.field(default_factory=dict)
    inside: bool = False


_Found = dict[str, frozenset[str]]


def compare(target: Target, *, own: bool = False) -> tuple[_Found, _Found, _Found]:
    """Return per grantee: grant options to revoke, privileges to revoke, privileges to grant.

    A grant can only be revoked by its grantor. All chains of grants begin with the owner, and revoking
    a grant option with CASCADE ends what was granted on: so everything is repaired as the owner. With
    `own`, the owner's own entries are judged as well.
    """
    options: dict[str, set[str]] = defaultdict(set)
    has: dict[str, set[str]] = defaultdict(set)
    chains = defaultdict(list)
    for entry in target.entries:
        chains[entry.grantee, entry.privilege].append(entry)
    for entry in target.entries:
        if entry.grantee == target.owner and not own:
            has[entry.grantee].add(entry.privilege)
            continue
        if not target.watched(entry.grantee):
            continue
        if entry.grantor == target.owner:
            has[entry.grantee].add(entry.privilege)
            if entry.grantable:
                options[entry.grantee].add(entry.privilege)
        elif (root := _root(entry, target.owner, chains)) is not None:
            options[root].add(entry.privilege)
    excess = {
        grantee: frozenset(privileges - target.allowed.get(grantee, frozenset()))
        for grantee, privileges in has.items()
        if grantee != target.owner or own
    }
    cascade = {
        grantee: frozenset(privileges - excess.get(grantee, frozenset())) for grantee, privileges in options.items()
    }
    missing = {
        grantee: frozenset(privileges - has.get(grantee, set())) for grantee, privileges in target.required.items()
    }
    return _present(cascade), _present(excess), _present(missing)


def _root(entry: Entry, owner: str, chains: Mapping[tuple[str, str], Sequence[Entry]]) -> str | None:
    """Who got from the owner the grant option that led to an entry."""
    seen = set()
    grantor = entry.grantor
    while grantor not in seen:
        seen.add(grantor)
        options = [e for e in chains.get((grantor, entry.privilege), ()) if e.grantable]
        if any(e.grantor == owner for e in options):
            return grantor
        if not options:
            return None
        grantor = options[0].grantor
    return None


def loops(target: Target) -> dict[tuple[str, str], frozenset[str]]:
    """Return what keeps itself and so must be revoked by its grantor: privileges by grantor and grantee.

    A grant ends with its grantor's grant option. Roles that granted to each other, or (after a change of owner)
    to themselves, keep theirs when the owner's grants end. One grant of a circle is enough to end all.
    """
    left = [entry for entry in target.entries if entry.grantable and target.owner not in (entry.grantor, entry.grantee)]
    found: dict[tuple[str, str], set[str]] = defaultdict(set)
    while True:
        held = {(entry.grantee, entry.privilege) for entry in left}
        kept = [entry for entry in left if (entry.grantor, entry.privilege) in held]
        if len(kept) < len(left):
            left = kept
            continue
        first = next((entry for entry in left if target.watched(entry.grantee)), None)
        if first is None:
            return {key: frozenset(privileges) for key, privileges in found.items()}
        found[first.grantor, first.grantee].add(first.privilege)
        left.remove(first)


def _present(found: _Found) -> _Found:
    return {grantee: privileges for grantee, privileges in found.items() if privileges}


def by_grantee(entries: Iterable[Entry]) -> dict[str, frozenset[str]]:
    """Return what each grantee has."""
    found: dict[str, set[str]] = defaultdict(set)
    for entry in entries:
        found[entry.grantee].add(entry.privilege)
    return {grantee: frozenset(privileges) for grantee, privileges in found.items()}


def after_new_owner(entries: tuple[Entry, ...], old: str, new: str) -> tuple[Entry, ...]:
    """Return the privileges after a change of owner: PostgreSQL puts the new one for the old one."""
    if old == new:
        return entries
    swap = {old: new}
    return tuple(
        dataclasses.replace(
            entry,
            grantee=swap.get(entry.grantee, entry.grantee),
            grantor=swap.get(entry.grantor, entry.grantor),
        )
        for entry in entries
    )


class Statements:
    """Collects grants and revokes, and writes few statements for many objects and roles alike."""

    def __init__(self, user: str) -> None:
        self._keys: dict[tuple[str, str, str, str, frozenset[str], bool], dict[str, list[str]]] = {}
        self._user = user
        self._labels: dict[tuple[str, str], str] = {}

    def _as_owner(self, target: Target) -> bool:
        """Say whether only the owner's role will do.

        A member of the owner's role that has a grant option of its own, or of another role that it is a
        member of, may grant and revoke in that one's name: https://www.postgresql.org/docs/current/sql-revoke.html
        """
        return target.owner != self._user and any(
            entry.grantable and entry.grantee != target.owner for entry in target.entries
        )

    def add(self, verb: str, target: Target, grantee: str, privileges: frozenset[str]) -> None:
        """Note that grantee gets or loses privileges on the target's objects."""
        key = (verb, target.kind, target.schema, target.owner, privileges, self._as_owner(target))
        self._keys.setdefault(key, {}).setdefault(grantee, []).extend(target.names)
        if target.kind in {"database", "schema"}:
            self._labels[target.kind, target.names[0]] = target.label

    def changes(self, need: Callable[[str], frozenset[str]]) -> Iterator[Change]:
        """Write the statements; `need` tells which memberships a grantor's rights take."""
        for (verb, kind, schema, owner, privileges, as_owner), found in self._keys.items():
            together: dict[tuple[str, ...], list[str]] = defaultdict(list)
            for grantee, names in found.items():
                together[tuple(names)].append(grantee)
            for same, grantees in together.items():
                for part in parts(same):
                    sql = privilege_sql(verb, kind, part, privileges, grantees)
                    if as_owner:
                        sql = in_the_name_of(owner, sql)
                    yield Change(
                        self._labels.get((kind, part[0])) or label_of([(kind, name) for name in part], schema),
                        reason_for(verb, grantees, privileges),
                        sql,
                        need(owner),
                    )


def in_the_name_of(role: str, sql: str) -> str:
    """Run SQL as another role, which is the grantor then."""
    return f"SET LOCAL ROLE {identifier(role)};\n{sql};\nSET LOCAL ROLE NONE"


def privilege_sql(
    verb: str,
    kind: str,
    names: Sequence[str],
    privileges: frozenset[str],
    grantees: Sequence[str],
) -> str:
    """Write a GRANT or REVOKE for objects of one kind."""
    end = f"{to_or_from(verb)} {grantee_list(grantees)}" + ("" if verb == "GRANT" else " CASCADE")
    if kind != "column":
        return f"{verb} {privilege_list(privileges)} ON {_KEYWORDS[kind]} {', '.join(names)} {end}"
    statements = []
    for name in names:
        column, table = json.loads(name)
        words = ", ".join(f"{privilege} ({column})" for privilege in sorted(privileges))
        statements.append(f"{verb} {words} ON TABLE {table} {end}")
    return ";\n".join(statements)


def same_privileges(found: _Found) -> list[tuple[frozenset[str], list[str]]]:
    """Group grantees that have equal privileges."""
    together: dict[frozenset[str], list[str]] = defaultdict(list)
    for grantee, privileges in found.items():
        together[privileges].append(grantee)
    return list(together.items())


def parts(items: Sequence[_T]) -> Iterator[Sequence[_T]]:
    """Cut a list into what one statement holds."""
    for start in range(0, len(items), _NAMES_PER_STATEMENT):
        yield items[start : start + _NAMES_PER_STATEMENT]


def label_of(items: Sequence[tuple[str, str]], schema: str) -> str:
    """Name objects for a person: the only one, or how many and the first."""
    kind, name = items[0]
    if kind == "column":
        column, table = json.loads(name)
        name = f"{column} of {table}"
    if len(items) == 1:
        return f"{kind.lower()} {name}"
    return f"{len(items)} objects in schema {schema}: {kind.lower()} {name} and others"


def reason_for(verb: str, grantees: Sequence[str], privileges: frozenset[str]) -> str:
    """Say in words why privileges are granted or revoked."""
    listed = ", ".join(who(grantee) for grantee in grantees[:10])
    if len(grantees) > 10:
        listed += f" and {len(grantees) - 10} more"
    if verb == "GRANT":
        return f"{listed} must have {privilege_list(privileges)}"
    if verb == "REVOKE":
        return f"{listed} may not have {privilege_list(privileges)}"
    return f"{listed} may not grant {privilege_list(privileges)} to others"


def who(grantee: str) -> str:
    """Name a grantee for a person."""
    return grantee or "PUBLIC"


def to_or_from(verb: str) -> str:
    """Return the preposition that a verb takes."""
    return "TO" if verb == "GRANT" else "FROM"


def grantee_list(grantees: Iterable[str]) -> str:
    """Write grantees for SQL."""
    return ", ".join(identifier(grantee) if grantee else "PUBLIC" for grantee in grantees)


def privilege_list(privileges: Iterable[str]) -> str:
    """Write privileges for SQL."""
    return ", ".join(sorted(privileges))
