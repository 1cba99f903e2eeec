"""Privileges: the statements for the differences that catalog.sql found."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence

from role_manager.catalog import DEFAULT_KINDS, PUBLIC, Entry, Privileges
from role_manager.planning.authority import Authority
from role_manager.planning.steps import Blocked, Change, in_the_name_of, several, together
from role_manager.sql import identifier

_KEYWORDS = {"foreign server": "FOREIGN SERVER", "large object": "LARGE OBJECT"}


def to_revoke(entries: Sequence[Entry], rooted: Collection[str]) -> list[Entry]:
    """Choose what has to be revoked, each by its grantor with CASCADE, so that all excess ends.

    A grant ends with its grantor's option to grant it on. Those of `rooted` (the owner; superusers) and of who keeps
    the option stand by themselves. What holds itself in a circle is ended by one grant of it.
    """
    left, chosen = list(entries), []
    while pending := [entry for entry in left if entry.excess]:
        held = {(e.grantor, e.privilege) for e in pending if e.grantor in rooted}
        held |= {(e.grantee, e.privilege) for e in left if e.grantable and not e.excess}
        first = next((e for e in pending if (e.grantor, e.privilege) in held), pending[0])
        chosen.append(first)
        before = {(e.grantee, e.privilege) for e in left if e.grantable}
        left.remove(first)
        while ended := [
            e
            for e in left
            if e.excess
            and e.grantor not in rooted
            and (e.grantor, e.privilege) in before - {(o.grantee, o.privilege) for o in left if o.grantable}
        ]:
            left = [e for e in left if e not in ended]
    return chosen


_Key = tuple[bool, str, str, str, tuple[str, ...], tuple[str, ...]]


def objects(a: Authority) -> tuple[list[Change | Blocked], list[Change | Blocked]]:
    """Privileges on what is there: what the master granted itself, and the rest, revokes first."""
    revokes: dict[_Key, list[str]] = defaultdict(list)
    grants: dict[_Key, list[str]] = defaultdict(list)
    blocked: list[Change | Blocked] = []
    for group in a.catalog.privileges:
        if group.old_owner != group.owner and not a.can_use(group.old_owner):
            continue  # said already: it keeps its owner
        wrong: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
        for entry in to_revoke(group.entries, {group.owner}):
            wrong[entry.grantor][entry.grantee].add(entry.privilege)
        for grantor, found in wrong.items():
            # As a member of the owner's role the master would revoke in the owner's name.
            early = grantor == a.me.name != group.owner
            for privileges, grantees in _alike(found.items()):
                key = (early, "REVOKE", grantor, group.kind, privileges, grantees)
                if a.can_use(grantor):
                    revokes[key].extend(group.names)
                else:
                    blocked.append(_blocked(group, key))
        lacking: dict[str, set[str]] = defaultdict(set)
        for grantee, privilege in group.missing:
            lacking[grantee].add(privilege)
        for privileges, grantees in _alike(lacking.items()):
            key = (False, "GRANT", group.owner, group.kind, privileges, grantees)
            if a.can_use(group.owner):
                grants[key].extend(group.names)
            else:
                blocked.append(_blocked(group, key))
    # A table's privilege takes those of its columns with it; schemas come first, or nothing in them can be named.
    first = ("column", "schema")
    ordered = sorted(revokes.items(), key=lambda item: item[0][3] not in first)
    ordered += sorted(grants.items(), key=lambda item: item[0][3] not in first)
    # An owner that took its own rights on its schema from itself could do nothing in it.
    ordered.sort(key=lambda item: not (item[0][1:4] == ("GRANT", a.owner, "schema") and a.owner in item[0][5]))
    changes = [change for key, names in ordered for change in _changes(a, key, names)]
    return [change for change in changes if change.early], [*blocked, *(c for c in changes if not c.early)]


def _alike(found: Iterable[tuple[str, set[str]]]) -> list[tuple[tuple[str, ...], tuple[str, ...]]]:
    """Group grantees that have equal privileges."""
    together: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for grantee, privileges in found:
        together[tuple(sorted(privileges))].append(grantee)
    return [(privileges, tuple(sorted(grantees))) for privileges, grantees in together.items()]


def _changes(a: Authority, key: _Key, names: Sequence[str]) -> Iterator[Change]:
    early, verb, grantor, kind, privileges, grantees = key
    now, wanted = _words(verb, privileges, grantees)

    def write(part: Sequence[str]) -> str:
        sql = _sql(verb, kind, part, privileges, grantees)
        return sql if grantor == a.me.name else in_the_name_of(grantor, sql)

    def relation(name: str) -> str:
        return str(json.loads(name)[1]) if kind == "column" else name if kind in {"table", "sequence"} else ""

    needs = a.need(grantor)
    yield from together(
        names, lambda name: _shown(kind, name), write, relation, now=now, wanted=wanted, needs=needs, early=early
    )


def _blocked(group: Privileges, key: _Key) -> Blocked:
    _, verb, grantor, kind, privileges, grantees = key
    now, wanted = _words(verb, privileges, grantees)
    reason = f"{now}; wanted: {wanted}. {grantor} " + ("granted it" if verb == "REVOKE" else "owns it")
    sql = _sql(verb, kind, group.names[:1], privileges, grantees)
    return Blocked(several(group.names, lambda name: _shown(kind, name)), reason, f"{grantor} runs: {sql}")


def _words(verb: str, privileges: Sequence[str], grantees: Sequence[str]) -> tuple[str, str]:
    who = ", ".join(grantee or "PUBLIC" for grantee in grantees[:10])
    who += f" and {len(grantees) - 10} more" if len(grantees) > 10 else ""
    has, lacks = f"{who}: {', '.join(privileges)}", f"{who}: not {', '.join(privileges)}"
    return (lacks, has) if verb == "GRANT" else (has, lacks if verb == "REVOKE" else "")


def _shown(kind: str, name: str) -> str:
    return "column {} of {}".format(*json.loads(name)) if kind == "column" else f"{kind} {name}"


def _sql(verb: str, kind: str, names: Sequence[str], privileges: Sequence[str], grantees: Sequence[str]) -> str:
    listed = ", ".join(privileges)
    if kind == "column":
        columns = [json.loads(name) for name in names]
        return ";\n".join(
            f"{verb} {', '.join(f'{privilege} ({column})' for privilege in privileges)} ON TABLE {table} "
            + _whom(verb, grantees)
            for column, table in columns
        )
    keyword = _KEYWORDS.get(kind, kind.upper())
    return f"{verb} {listed} ON {keyword} {', '.join(names)} {_whom(verb, grantees)}"


def _whom(verb: str, grantees: Sequence[str]) -> str:
    listed = ", ".join("PUBLIC" if grantee == PUBLIC else identifier(grantee) for grantee in grantees)
    return f"TO {listed}" if verb == "GRANT" else f"FROM {listed} CASCADE"


def defaults(a: Authority) -> Iterator[Change | Blocked]:
    """Privileges of what does not exist yet; equal ones of many schemas in one statement."""
    found: dict[tuple[str, str, str, bool, tuple[str, ...], tuple[str, ...]], list[str]] = defaultdict(list)
    for item in a.catalog.other.get("default privileges", ()):
        for verb, pairs in (("REVOKE", item["excess"]), ("GRANT", item["missing"])):
            lists: dict[str, set[str]] = defaultdict(set)
            for grantee, privilege in pairs or ():
                lists[grantee].add(privilege)
            for privileges, grantees in _alike(lists.items()):
                inside = item["schema"] != ""
                key = (verb, item["role"], DEFAULT_KINDS[item["letter"]][1], inside, privileges, grantees)
                found[key].append(item["schema"])
    for (verb, role, keyword, inside, privileges, grantees), schemas in sorted(
        found.items(), key=lambda i: i[0][0] == "GRANT"
    ):
        more = f" and {len(schemas) - 1} more" if len(schemas) > 1 else ""
        what = f"default privileges of {role} on {keyword.lower()}" + (
            f" in schema {schemas[0]}{more}" if inside else ""
        )
        where = f" IN SCHEMA {', '.join(map(identifier, schemas))}" if inside else ""
        now, wanted = _words(verb, privileges, grantees)
        listed = f"{', '.join(privileges)} ON {keyword} {_whom(verb, grantees)}"
        sql = f"ALTER DEFAULT PRIVILEGES FOR ROLE {identifier(role)}{where} {verb} {listed}"
        if a.can_use(role):
            yield Change(what, now, wanted, sql, a.need(role))
        else:
            yield Blocked(what, f"{now}; wanted: {wanted}, and only {role} can change it", f"{role} runs: {sql}")
