"""Who owns what: the database, the schemas and what is in them, extensions, and what managed roles own elsewhere.

Ownership is never raised on its own. Whatever runs as its owner would run with more than it was written for: what is not
the master's own already (giving it to the owner role lowers it) is taken only when project.yaml names it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from role_manager.catalog import PRIVILEGES, Owned
from role_manager.desired import ADOPTABLE
from role_manager.planning.authority import Authority
from role_manager.planning.steps import Blocked, Change, in_the_name_of, together
from role_manager.sql import identifier

_Found = Iterator[Change | Blocked]
# Where pg_identify_object has other words than ALTER.
_KEYWORDS = {
    "aggregate": "FUNCTION",
    "foreign-data wrapper": "FOREIGN DATA WRAPPER",
    "statistics object": "STATISTICS",
}
_LOCKS_FOR_A_TABLE = 5  # itself, its sequence, an index, what is out of line and the index of that


def database(a: Authority) -> _Found:
    """The database is no managed role's. Nothing runs as its owner."""
    if a.database_owner not in a.managed and a.database_owner not in a.retired:
        return
    what, now = f"database {a.database}", f"owned by {a.database_owner}"
    sql = f"ALTER DATABASE {identifier(a.database)} OWNER TO {identifier(a.me.name)}"
    may = a.can_use(a.database_owner) and (a.me.superuser or "CREATEDB" in a.me.attributes)
    change = Change(what, now, f"owned by {a.me.name}", sql, a.need(a.database_owner))
    yield change.or_blocked(may, "a superuser")


def schemas(a: Authority) -> _Found:
    """Managed schemas that are not there; the others are among the objects."""
    for name in (name for name in a.desired.schemas if name not in a.catalog.server["schemas"]):
        what = f"schema {name}"
        if not a.catalog.server["may_create_schema"]:
            grant = f"GRANT CREATE ON DATABASE {identifier(a.database)} TO {identifier(a.me.name)}"
            reason = f"it does not exist, and {a.me.name} may not create schemas in {a.database}"
            yield Blocked(what, reason, f"the database's owner runs: {grant}")
        else:
            sql = f"CREATE SCHEMA {identifier(name)} AUTHORIZATION {identifier(a.owner)}"
            if users := [role.name for role in a.managed.values() if "schema" in PRIVILEGES[role.profile]]:
                grant = f"GRANT USAGE ON SCHEMA {identifier(name)} TO {', '.join(map(identifier, users))}"
                sql += f";\n{in_the_name_of(a.owner, grant)}"
            yield Change(what, "it does not exist", f"owned by {a.owner}", sql, a.need(a.owner))


def extensions(a: Authority) -> _Found:
    """Extensions that are declared and not installed."""
    first = a.desired.schemas[0]
    foreign = [thing for thing in a.catalog.owned if thing.inside and not thing.taken and thing.schema == first]
    for item in a.catalog.other.get("extension", ()):
        name, what = item["name"], f"extension {item['name']}"
        if not item["offered"]:
            yield Blocked(what, "this server does not offer it", "correct its name in project.yaml, or take it out")
        elif item["superuser"] and not (item["trusted"] or a.catalog.server["rds_superuser"] or a.me.superuser):
            sql = f"CREATE EXTENSION {identifier(name)}"
            yield Blocked(what, "only a superuser may install it", f"a superuser runs: {sql}")
        elif foreign and not item["schema"]:
            reason = f"its script would run beside {foreign[0].type} {foreign[0].name}, which is {foreign[0].owner}'s"
            yield Blocked(what, reason, "adopt or drop that first, then apply again")
        else:
            where = "" if item["schema"] else f" SCHEMA {identifier(first)}"
            needs = frozenset() if item["schema"] else a.need(a.owner)
            yield Change(what, "not installed", "installed", f"CREATE EXTENSION {identifier(name)}{where}", needs)


def objects(a: Authority) -> _Found:
    """What must change its owner: schemas first, then what is in them; many alike in one statement list."""
    found: dict[tuple[bool, str, str, str, bool], list[str]] = defaultdict(list)
    for thing in a.catalog.owned:
        new = a.owner if thing.inside else a.me.name
        what, now = f"{thing.type} {thing.name}", f"owned by {thing.owner}"
        if not thing.taken:
            if thing.inside or thing.owner in a.managed:  # a retired role's are in its own report
                yield _not_taken(thing, new)
        elif not a.can_use(thing.owner):
            sql = _alter(thing.type, thing.name, new)
            reason = f"{now}, whose objects {a.me.name} may not give away"
            yield Blocked(what, reason, f"{thing.owner} or a superuser runs: {sql}")
        else:
            found[thing.type != "schema", thing.owner, new, thing.type, thing.bulk].append(thing.name)
    for (_, owner, new, kind, bulk), names in sorted(found.items()):
        yield from together(
            kind,
            names,
            lambda part, kind=kind, new=new: ";\n".join(_alter(kind, name, new) for name in part),  # type: ignore[misc]
            locks=_LOCKS_FOR_A_TABLE if bulk else 1,
            now=f"owned by {owner}",
            wanted=f"owned by {new}",
            needs=a.need(owner) | a.need(new),
        )


def _not_taken(thing: Owned, new: str) -> Blocked:
    what = f"{thing.type} {thing.name}"
    runs = ", ".join(thing.runs)
    reason = f"owned by {thing.owner}; wanted: " + (f"owned by {new}" if thing.inside else "none of a managed role")
    if runs:
        reason += f". Somebody has to look first: {runs} would run as {new}"
    sql = _alter(thing.type, thing.name, new)
    if thing.type == "extension":
        return Blocked(what, reason, "drop it; apply installs those of database_roles.extensions")
    if thing.type not in ADOPTABLE:
        return Blocked(what, reason, f"drop it, or a superuser runs: {sql}")
    adopting = f"list '{what}' under database_roles.adopt in project.yaml; apply then runs: {sql}"
    return Blocked(what, reason, f"drop it, or adopt it: {adopting}")


def _alter(kind: str, name: str, new: str) -> str:
    return f"ALTER {_KEYWORDS.get(kind, kind.upper())} {name} OWNER TO {identifier(new)}"


def foreign_code(a: Authority) -> Iterator[Blocked]:
    """What the owner's objects use and somebody else can replace."""
    for item in a.catalog.other.get("foreign code", ()):
        reason = f"it uses {item['code']}, which {item['owner']} can replace: it runs as whoever uses the table or view"
        yield Blocked(item["object"], reason, f"look at that; then drop one of them, or {item['owner']} gives it away")


def elsewhere(a: Authority) -> _Found:
    """What managed roles own or may do in other databases; from here nothing can be done about it."""
    for item in a.catalog.other.get("elsewhere", ()):
        role, database = item["role"], item["database"]
        if database and role in a.managed:
            remedy = f"connect to {database} and run: DROP OWNED BY {identifier(role)}, or REASSIGN OWNED before"
            yield Blocked(f"role {role}", f"it {' and '.join(item['mentions'])}", remedy)
