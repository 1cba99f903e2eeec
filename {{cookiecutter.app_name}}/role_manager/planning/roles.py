"""The roles themselves: that they exist, their attributes, memberships, settings, and their end."""

from __future__ import annotations

from collections.abc import Iterator

from role_manager.catalog import IAM_GROUP, Entry, Membership
from role_manager.planning.authority import Authority
from role_manager.planning.grants import to_revoke
from role_manager.planning.steps import Blocked, Change
from role_manager.sql import identifier, literal

_Found = Iterator[Change | Blocked]


def create(a: Authority) -> Iterator[Change]:
    """Managed roles that are not there."""
    for role in a.managed.values():
        if role.name not in a.catalog.roles:
            words = f"{'LOGIN' if role.login == 'iam' else 'NOLOGIN'} CONNECTION LIMIT {role.connection_limit}"
            sql = f"CREATE ROLE {identifier(role.name)} {words}"
            yield Change(f"role {role.name}", "it does not exist", words, sql, early=True)


def attributes(a: Authority) -> _Found:
    """Attributes of managed roles."""
    # Who may take which away: https://www.postgresql.org/docs/current/sql-alterrole.html
    mine = {*a.me.attributes} - {"SUPERUSER"} if a.sixteen else {"CREATEDB"}
    for role in a.managed.values():
        found = a.catalog.roles.get(role.name)
        if found is None:
            continue
        wanted = {"INHERIT", "LOGIN"} if role.login == "iam" else {"INHERIT"}
        too_much, missing = sorted({*found.attributes} - wanted), sorted(wanted - {*found.attributes})
        words = [f"NO{word}" for word in too_much] + missing
        now = [f"it has {word}" for word in too_much] + [f"it has NO{word}" for word in missing]
        if found.connection_limit != role.connection_limit:
            now.append(f"its connection limit is {found.connection_limit}")
            words.append(f"CONNECTION LIMIT {role.connection_limit}")
        what, sql = f"role {role.name}", f"ALTER ROLE {identifier(role.name)} "
        beyond = [word for word in too_much if word not in {"CREATEROLE", "LOGIN", *mine} and not a.me.superuser]
        if beyond:
            reason = f"it has {', '.join(beyond)}, which {a.me.name} may not take away"
            yield Blocked(what, reason, f"a superuser runs: {sql}" + " ".join(f"NO{word}" for word in beyond))
        elif words:
            yield a.altering(role.name, Change(what, ", ".join(now), " ".join(words), sql + " ".join(words)))


def settings(a: Authority) -> _Found:
    """Settings of managed roles: the declared ones and no other. And what a database sets for all."""
    found = {(item["role"], item["database"], item["name"]): item for item in a.catalog.other.get("setting", ())}
    wanted: dict[tuple[str, str, str], tuple[str, str]] = {}
    for role in a.managed.values():
        path, timeout = ", ".join(map(identifier, a.desired.schemas)), f"{role.statement_timeout_seconds}s"
        wanted[role.name, "", "search_path"] = (a.catalog.server["search_path"], path)
        wanted[role.name, "", "statement_timeout"] = (timeout, literal(timeout))
    for key in [*wanted, *(key for key in found if key not in wanted)]:
        name, database, setting = key
        value, sql = wanted.get(key, ("not set", ""))
        now = found[key]["value"] if key in found else "not set"
        if now == value:
            continue
        here = f" IN DATABASE {identifier(database)}" if database else ""
        # What only a superuser may set, only one may reset.
        may, needs, who = key not in found or found[key]["mine"], a.need(a.me.name), "a superuser"
        if name:
            what, whose = f"role {name}", f"ROLE {identifier(name)}{here}"
        elif database:
            what, whose = f"database {database}", f"DATABASE {identifier(database)}"
            may, needs, who = may and a.can_use(a.database_owner), a.need(a.database_owner), "its owner or a superuser"
        else:
            what, whose, may = "all roles", "ROLE ALL", a.me.superuser
        do = f"SET {setting} = {sql}" if sql else f"RESET {'.'.join(map(identifier, setting.split('.')))}"
        what = f"setting {setting} of {what}" + " in this database" * bool(name and database)
        change = Change(what, f"it is {now}", value, f"ALTER {whose} {do}", needs)
        yield a.altering(name, change) if name and may else change.or_blocked(may, who, f", and only {who} may")


# --- Memberships --------------------------------------------------------------------------------


def memberships(a: Authority) -> _Found:
    """Memberships in managed roles and of managed roles, of every form, but for what a login with IAM takes."""
    # A membership is like a privilege: the role is what is granted, ADMIN the option to grant it on.
    found = [Entry(m.member, m.grantor, m.role, m.admin, _is_excess(a, m)) for m in a.catalog.memberships]
    # Before 16 a member has one row, whoever granted it, and nothing depends on it.
    superusers = {name for name, role in a.catalog.roles.items() if role.superuser}
    for entry in to_revoke(found, superusers) if a.sixteen else [entry for entry in found if entry.excess]:
        yield _end(a, entry)


def _is_excess(a: Authority, m: Membership) -> bool:
    if m.member in a.managed:
        return m.admin or m.role != IAM_GROUP or a.managed[m.member].login != "iam"
    if m.member == a.me.name and m.role in a.managed:
        # Only its grantor can revoke it; one of a superuser's is the platform's business.
        return not a.me.superuser and (not a.sixteen or (m.grantor == a.me.name and (m.inherit or m.set)))
    if m.role in a.managed or m.role in a.retired:
        # A superuser needs none to act as anybody.
        return m.role in a.managed and not a.catalog.roles[m.member].superuser
    return a.sixteen and m.grantor in a.retired


def _end(a: Authority, entry: Entry) -> Change | Blocked:
    member, grantor, role = entry.grantee, entry.grantor, entry.privilege
    what = f"membership of {member} in {role}"
    words, wanted = f"REVOKE {identifier(role)} FROM {identifier(member)}", "not a member"
    if member in a.managed and role == IAM_GROUP and a.managed[member].login == "iam":
        now, wanted = "it may make others members", "a member and no more"
        words = words.replace("REVOKE ", "REVOKE ADMIN OPTION FOR ", 1)
    elif member in a.managed:
        now = f"{member} has the privileges of {role}"
    elif member == a.me.name:
        now = "a member, and so without its password login when the role has IAM login"
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
        kept += [
            mention
            for item in a.catalog.other.get("elsewhere", ())
            if item["role"] == name
            for mention in item["mentions"]
        ]
        what = f"role {name}"
        drop = a.altering(name, Change(what, "it is there", "retired", f"DROP ROLE {identifier(name)}"))
        if kept:
            more = f" and {len(kept) - 20} more" if len(kept) > 20 else ""
            reason = f"it is retired and still {', '.join(kept[:20])}{more}"
            yield Blocked(what, reason, "drop these, adopt them or give them to another role, then apply again")
        if not kept or isinstance(drop, Blocked):
            yield drop
