"""Privileges: the statements for the differences that catalog.sql found."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence

from role_manager.catalog import DEFAULT_KINDS, PUBLIC, Entry
from role_manager.planning.authority import Authority
from role_manager.planning.steps import Blocked, Change, in_the_name_of, several, together
from role_manager.sql import identifier


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


_Key = tuple[bool, str, str, str, tuple[str, ...], tuple[str, ...]]  # early, verb, grantor, kind, privileges, grantees


def objects(a: Authority) -> Iterator[Change | Blocked]:
    """Privileges on what is there, revokes first."""
    found: dict[_Key, list[str]] = defaultdict(list)
    for group in a.catalog.privileges:
        if group.old_owner != group.owner and not a.can_use(group.old_owner):
            continue  # said already: it keeps its owner
        wrong: dict[tuple[str, str], list[tuple[str, str]]] = defaultdict(list)
        for entry in to_revoke(group.entries, {group.owner}):
            wrong["REVOKE", entry.grantor].append((entry.grantee, entry.privilege))
        wrong["GRANT", group.owner] += group.missing
        kind, _, column = group.kind.partition(":")
        for (verb, grantor), pairs in wrong.items():
            for privileges, grantees in _alike(pairs):
                # As a member of the owner's role the master would revoke in the owner's name.
                early = grantor == a.me.name != group.owner
                words = tuple(f"{privilege} ({column})" for privilege in privileges) if column else privileges
                found[early, verb, grantor, kind, words, grantees] += group.names

    def order(key: _Key) -> tuple[bool, ...]:
        _, verb, grantor, kind, _, grantees = key
        # A table's privilege takes those of its columns with it; schemas come first, or nothing in them can be named.
        later = kind not in ("column", "schema")
        # An owner that took its own rights on its schema from itself could do nothing in it.
        return (verb, grantor, kind) != ("GRANT", a.owner, "schema") or a.owner not in grantees, verb == "GRANT", later

    for key in sorted(found, key=order):
        yield from _changes(a, key, found[key])


def _alike(pairs: Iterable[tuple[str, str]]) -> list[tuple[tuple[str, ...], tuple[str, ...]]]:
    """Group grantees that have equal privileges, from pairs of both."""
    found: dict[str, set[str]] = defaultdict(set)
    for grantee, privilege in pairs:
        found[grantee].add(privilege)
    grantees: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for grantee, privileges in found.items():
        grantees[tuple(sorted(privileges))].append(grantee)
    return [(privileges, tuple(sorted(alike))) for privileges, alike in grantees.items()]


def _changes(a: Authority, key: _Key, names: Sequence[str]) -> Iterator[Change | Blocked]:
    early, verb, grantor, kind, privileges, grantees = key
    now, wanted = _words(verb, privileges, grantees)
    shown = "table" if kind == "column" else kind

    def sql(part: Sequence[str]) -> str:
        listed = f"{', '.join(privileges)} ON {shown.upper()} {', '.join(part)}"
        return f"{verb} {listed} {_whom(verb, grantees)}"

    def write(part: Sequence[str]) -> str:
        return sql(part) if grantor == a.me.name else in_the_name_of(grantor, sql(part))

    if a.can_use(grantor):
        yield from together(shown, names, write, now=now, wanted=wanted, needs=a.need(grantor), early=early)
    else:
        reason = f"{now}; wanted: {wanted}. {grantor} " + ("granted it" if verb == "REVOKE" else "owns it")
        yield Blocked(several(shown, names), reason, f"{grantor} runs: {sql(names[:1])}")


def _words(verb: str, privileges: Sequence[str], grantees: Sequence[str]) -> tuple[str, str]:
    who = ", ".join(grantee or "PUBLIC" for grantee in grantees[:10])
    who += f" and {len(grantees) - 10} more" if len(grantees) > 10 else ""
    has, lacks = f"{who}: {', '.join(privileges)}", f"{who}: not {', '.join(privileges)}"
    return (lacks, has) if verb == "GRANT" else (has, lacks)


def _whom(verb: str, grantees: Sequence[str]) -> str:
    listed = ", ".join("PUBLIC" if grantee == PUBLIC else identifier(grantee) for grantee in grantees)
    return f"TO {listed}" if verb == "GRANT" else f"FROM {listed} CASCADE"


def defaults(a: Authority) -> Iterator[Change | Blocked]:
    """Privileges of what does not exist yet; equal ones of many schemas in one statement."""
    found: dict[tuple[str, str, str, bool, tuple[str, ...], tuple[str, ...]], list[str]] = defaultdict(list)
    for item in a.catalog.other.get("default privileges", ()):
        for verb, pairs in (("REVOKE", item["excess"]), ("GRANT", item["missing"])):
            for privileges, grantees in _alike(pairs or ()):
                inside = item["schema"] != ""
                key = (verb, item["role"], f"{DEFAULT_KINDS[item['letter']]}s", inside, privileges, grantees)
                found[key].append(item["schema"])
    for key in sorted(found, key=lambda key: key[0] == "GRANT"):
        (verb, role, kind, inside, privileges, grantees), schemas = key, found[key]
        more = f" and {len(schemas) - 1} more" if len(schemas) > 1 else ""
        what = f"default privileges of {role} on {kind}" + (f" in schema {schemas[0]}{more}" if inside else "")
        where = f" IN SCHEMA {', '.join(map(identifier, schemas))}" if inside else ""
        now, wanted = _words(verb, privileges, grantees)
        listed = f"{', '.join(privileges)} ON {kind.upper()} {_whom(verb, grantees)}"
        sql = f"ALTER DEFAULT PRIVILEGES FOR ROLE {identifier(role)}{where} {verb} {listed}"
        change = Change(what, now, wanted, sql, a.need(role))
        yield change.or_blocked(a.can_use(role), role, f", and only {role} can change it")
