"""The roles themselves: that they exist, their attributes, memberships, settings, and their end."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator

from role_manager.catalog import IAM_GROUP, Entry
from role_manager.desired import Role
from role_manager.planning.authority import Authority
from role_manager.planning.grants import to_revoke
from role_manager.planning.steps import Blocked, Change
from role_manager.sql import identifier

_Found = Iterator[Change | Blocked]


def create(a: Authority) -> Iterator[Change]:
    """Managed roles that are not there."""
    for role in a.managed.values():
        if role.name not in a.catalog.roles:
            words = f"{_login(role)} CONNECTION LIMIT {role.connection_limit}"
            sql = f"CREATE ROLE {identifier(role.name)} {words}"
            yield Change(f"role {role.name}", "it does not exist", words, sql, early=True)


def attributes(a: Authority) -> _Found:
    """Attributes of managed roles."""
    for role in a.managed.values():
        found = a.catalog.roles.get(role.name)
        if found is None:
            continue
        has = {
            "SUPERUSER": found.superuser,
            "CREATEDB": found.createdb,
            "CREATEROLE": found.createrole,
            "REPLICATION": found.replication,
            "BYPASSRLS": found.bypassrls,
        }
        now = [f"it has {word}" for word, there in has.items() if there]
        words = [f"NO{word}" for word, there in has.items() if there]
        if not found.inherit:
            now.append("it has NOINHERIT")
            words.append("INHERIT")
        if found.login != (role.login == "iam"):
            now.append("it may log in" if found.login else "it may not log in")
            words.append(_login(role))
        if found.connection_limit != role.connection_limit:
            now.append(f"its connection limit is {found.connection_limit}")
            words.append(f"CONNECTION LIMIT {role.connection_limit}")
        if not words:
            continue
        what, sql = f"role {role.name}", f"ALTER ROLE {identifier(role.name)} "
        # Who may change which attribute: https://www.postgresql.org/docs/current/sql-alterrole.html
        mine = {
            "SUPERUSER": False,
            "REPLICATION": a.sixteen and a.me.replication,
            "BYPASSRLS": a.sixteen and a.me.bypassrls,
            "CREATEDB": not a.sixteen or a.me.createdb,
        }
        beyond = [word for word, may in mine.items() if has[word] and not may and not a.me.superuser]
        if beyond:
            reason = f"it has {', '.join(beyond)}, which {a.me.name} may not take away"
            yield Blocked(what, reason, f"a superuser runs: {sql}" + " ".join(f"NO{word}" for word in beyond))
        elif not a.can_alter(role.name):
            reason = f"{', '.join(now)}, and {a.me.name} has no ADMIN OPTION on it"
            yield Blocked(what, reason, a.admin_remedy(role.name))
        else:
            yield Change(what, ", ".join(now), " ".join(words), sql + " ".join(words))


def settings(a: Authority) -> _Found:
    """Settings of managed roles: the declared ones and no other. And what a database sets for all."""
    database = identifier(a.database)
    found = a.catalog.other.get("setting", [])
    # What only a superuser may set, only one may reset. The server knows role as no parameter.
    beyond = {s["name"] for s in found if not s["mine"] and s["name"] != "role"}
    for role in a.managed.values():
        name = identifier(role.name)
        wanted = {
            "search_path": (a.catalog.server["search_path"], ", ".join(map(identifier, a.desired.schemas))),
            "statement_timeout": (f"{role.statement_timeout_seconds}s", f"'{role.statement_timeout_seconds}s'"),
        }
        own = {s["name"]: s["value"] for s in found if s["role"] == role.name and not s["database"]}
        here = {s["name"]: s["value"] for s in found if s["role"] == role.name and s["database"]}
        changes = [
            (key, f"it is {own[key]}" if key in own else "it is not set", value, f"ALTER ROLE {name} SET {key} = {sql}")
            for key, (value, sql) in wanted.items()
            if own.get(key) != value
        ]
        changes += [
            (key, f"it is {value}", "not set", f"ALTER ROLE {name} RESET {_setting(key)}")
            for key, value in own.items()
            if key not in wanted
        ]
        changes += [
            (
                f"{key} in this database",
                f"it is {value}, over the role's own",
                "not set",
                f"ALTER ROLE {name} IN DATABASE {database} RESET {_setting(key)}",
            )
            for key, value in here.items()
        ]
        for key, now, value, sql in changes:
            change = Change(f"setting {key} of role {role.name}", now, value, sql)
            if role.name in a.catalog.roles and not a.can_alter(role.name):
                reason = f"{change.reason}, and {a.me.name} has no ADMIN OPTION on the role"
                yield Blocked(change.object, reason, a.admin_remedy(role.name))
            else:
                may = key.partition(" ")[0] not in beyond
                yield change.or_blocked(may, "a superuser", ", and only a superuser may")
    for item in (item for item in found if not item["role"]):
        key, value = item["name"], item["value"]
        if not item["database"]:
            what, sql = f"setting {key} of all roles", f"ALTER ROLE ALL RESET {_setting(key)}"
            may = a.me.superuser
        else:
            what, sql = f"setting {key} of database {a.database}", f"ALTER DATABASE {database} RESET {_setting(key)}"
            may = a.can_use(a.database_owner) and key not in beyond
        change = Change(what, f"it is {value}, and changes every session", "not set", sql, a.need(a.database_owner))
        yield change.or_blocked(may, "its owner or a superuser")


def _setting(name: str) -> str:
    return ".".join(identifier(part) for part in name.split("."))


# --- Memberships --------------------------------------------------------------------------------


def memberships(a: Authority) -> _Found:
    """Memberships in managed roles and of managed roles, of every form, but for what a login with IAM takes."""
    by_role: dict[str, list[Entry]] = defaultdict(list)
    for m in a.catalog.memberships:
        # A membership is like a privilege: the role is what is granted, ADMIN the option to grant it on.
        by_role[m.role].append(Entry(m.member, m.grantor, "", m.admin, excess=_is_excess(a, m.role, m.member, m)))
    for role, entries in by_role.items():
        # Before 16 a member has one row, whoever granted it, and nothing depends on it.
        superusers = {name for name, found in a.catalog.roles.items() if found.superuser}
        needed = (
            to_revoke(entries, superusers) if a.sixteen else sorted({e for e in entries if e.excess}, key=str)
        )  # fmt: skip
        for entry in needed:
            yield _end(a, role, entry)


def _is_excess(a: Authority, role: str, member: str, m: object) -> bool:
    found = a.catalog.roles[member]
    if member in a.managed:
        wanted = role == IAM_GROUP and a.managed[member].login == "iam"
        return not wanted or m.admin  # type: ignore[attr-defined]
    if role in a.managed or role in a.retired:
        # See stale_memberships; a superuser needs none to act as anybody.
        return role in a.managed and member != a.me.name and not found.superuser
    return a.sixteen and m.grantor in a.retired  # type: ignore[attr-defined]


def _end(a: Authority, role: str, entry: Entry) -> Change | Blocked:
    member, grantor = entry.grantee, entry.grantor
    what = f"membership of {member} in {role}"
    words, wanted = f"REVOKE {identifier(role)} FROM {identifier(member)}", "not a member"
    if member in a.managed and role == IAM_GROUP and a.managed[member].login == "iam":
        now, wanted = "it may make others members", "a member and no more"
        words = words.replace("REVOKE ", "REVOKE ADMIN OPTION FOR ", 1)
    elif member in a.managed:
        now = f"{member} has the privileges of {role}"
    elif role in a.managed:
        now = f"{member} could act as {role}" + (", or make itself a member" if entry.grantable else "")
    else:
        now = f"{grantor}, who granted it, is retired"
    if not a.can_grant(role):
        reason = f"{now}, and {a.me.name} has no ADMIN OPTION on {role}"
        return Blocked(what, reason, f"{grantor} or a superuser runs: {words}")
    if not a.sixteen:
        return Change(what, now, wanted, words, early=True)
    if a.me.superuser or a.can_use(grantor):
        sql = f"{words} GRANTED BY {identifier(grantor)} CASCADE"
        return Change(what, now, wanted, sql, a.need(grantor), early=not a.need(grantor))
    if role.startswith("rds_") and a.catalog.server["rds_superuser"]:
        return Change(what, f"{now} (granted by {grantor})", wanted, f"{words} CASCADE", early=True)
    return Blocked(what, f"{now}, and only {grantor}, who granted it, can revoke it", f"{grantor} runs: {words}")


def stale_memberships(a: Authority, needed: Collection[str]) -> list[str]:
    """Managed roles that the master itself is a member of, for no reason."""
    found = [
        m.role
        for m in a.catalog.memberships
        if m.member == a.me.name
        and m.role in a.managed
        and m.role not in needed
        and not a.me.superuser
        # Only its grantor can revoke it; one of a superuser's is the platform's business.
        and (not a.sixteen or ((m.inherit or m.set) and m.grantor == a.me.name))
    ]
    return list(dict.fromkeys(found))


def iam_logins(a: Authority) -> _Found:
    """Members of rds_iam log in with tokens."""
    if IAM_GROUP not in a.catalog.roles:
        return
    members = {m.member for m in a.catalog.memberships if m.role == IAM_GROUP}
    for role in a.managed.values():
        if role.login != "iam" or role.name in members:
            continue
        what = f"membership of {role.name} in {IAM_GROUP}"
        sql = f"GRANT {identifier(IAM_GROUP)} TO {identifier(role.name)}"
        change = Change(what, "not a member", "a member: it logs in with IAM tokens", sql)
        yield change.or_blocked(a.can_grant(IAM_GROUP), "a superuser", f", and {a.me.name} has no ADMIN OPTION on it")
        if a.can_grant(IAM_GROUP) and role.name in a.catalog.roles and a.can_alter(role.name):
            sql = f"ALTER ROLE {identifier(role.name)} PASSWORD NULL"
            yield Change(f"role {role.name}", "it may have a password", "none: a token replaces it", sql)


# --- Retirement ---------------------------------------------------------------------------------


def retire(a: Authority) -> _Found:
    """Drop retired roles, and say beforehand what would keep them."""
    for name in a.retired:
        kept = [
            f"owns {thing.type} {thing.name}"
            for thing in a.catalog.owned
            if thing.owner == name and not (thing.taken and a.can_use(name))
        ]
        for item in a.catalog.other.get("elsewhere", ()):
            if item["role"] != name:
                continue
            if item["database"]:
                kept += [f"owns {item['owns']} objects in database {item['database']}"] if item["owns"] else []
                kept += [f"is mentioned {item['granted']} times in database {item['database']}"] * (item["granted"] > 0)
            else:
                kept += [f"is mentioned by {thing}" for thing in item["what"] or ()]
        what = f"role {name}"
        if not a.can_alter(name) or not a.can_grant(name):
            yield Blocked(what, f"it is retired, and {a.me.name} may not drop it", a.admin_remedy(name))
        if kept:
            more = f" and {len(kept) - 20} more" if len(kept) > 20 else ""
            reason = f"it is retired and still {', '.join(kept[:20])}{more}"
            yield Blocked(what, reason, "drop these, adopt them or give them to another role, then apply again")
        elif a.can_alter(name) and a.can_grant(name):
            yield Change(what, "it is there", "retired", f"DROP ROLE {identifier(name)}")


def _login(role: Role) -> str:
    return "LOGIN" if role.login == "iam" else "NOLOGIN"
