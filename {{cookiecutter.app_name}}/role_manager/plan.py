"""Compares the catalog with the desired state: the changes that make them equal, in order.

The rules, in short. A managed schema and everything in it belong to the owner role; nobody but the
managed roles has privileges there, and these exactly what their profile gives. The database's own
privileges are the managed roles' alone. Elsewhere managed roles own nothing and have no privileges,
and PUBLIC may neither create nor write. A managed role that logs in is a member of rds_iam and of
nothing else, and nobody is a member of a managed role. Roles of PostgreSQL and RDS, superusers, and
what belongs to extensions are left as they are.
"""

from __future__ import annotations

import dataclasses
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence

from role_manager.catalog import PUBLIC, Catalog, Entry, Objects
from role_manager.desired import OWNER, READ_ONLY, DesiredState, Role, is_reserved
from role_manager.privileges import (
    DEFAULT_KINDS,
    OWNER_PRIVILEGES,
    PRIVILEGES,
    PUBLIC_ELSEWHERE,
    Change,
    Statements,
    Target,
    after_new_owner,
    by_grantee,
    compare,
    grantee_list,
    in_the_name_of,
    label_of,
    loops,
    parts,
    privilege_list,
    privilege_sql,
    reason_for,
    same_privileges,
    to_or_from,
    who,
)
from role_manager.sql import identifier, split_identifiers

IAM_GROUP = "rds_iam"


@dataclasses.dataclass(frozen=True)
class Blocked:
    """A difference the current user cannot repair: what, why not, and who can do what about it."""

    object: str
    reason: str
    remedy: str


@dataclasses.dataclass(frozen=True)
class Plan:
    """The changes in the order they must run, and what cannot be changed. Both empty: all is well.

    `iam_logins`: the server has rds_iam, so roles log in with tokens.
    """

    changes: tuple[Change, ...]
    blocked: tuple[Blocked, ...]
    notes: tuple[str, ...] = ()
    iam_logins: bool = True

    @property
    def empty(self) -> bool:
        """Whether catalog and desired state are equal."""
        return not self.changes and not self.blocked


def make_plan(desired: DesiredState, catalog: Catalog) -> Plan:
    """Compare the desired state with the catalog; reads nothing else and changes nothing."""
    return _Planner(desired, catalog).plan()


class _Planner:
    def __init__(self, desired: DesiredState, catalog: Catalog) -> None:
        self.desired = desired
        self.catalog = catalog
        self.owner = desired.owner.name
        self.me = catalog.me
        self.retired = [name for name in desired.retired if name in catalog.roles]
        self.managed = desired.roles
        self.blocked: list[Blocked] = []
        # Since 16, who created a role has the ADMIN option on it and nothing more.
        self.sixteen = catalog.version >= 160000
        self.direct = {
            membership.role
            for membership in catalog.memberships
            if membership.member == self.me.name and membership.inherit and membership.set
        }

    def plan(self) -> Plan:
        notes = []
        if self.me.name in self.managed or self.me.name in self.desired.retired:
            self.block(
                f"role {self.me.name}",
                "the master user cannot be one of the roles it manages",
                "connect as another role, or give this role another name in project.yaml",
            )
            return Plan((), tuple(self.blocked))
        if not (self.me.superuser or self.me.createrole):
            self.block(
                f"role {self.me.name}",
                "it has no CREATEROLE, which managing roles needs",
                "connect as the master user",
            )
            return Plan((), tuple(self.blocked))
        if IAM_GROUP not in self.catalog.roles:
            notes.append(f"this server has no role {IAM_GROUP}: it is not RDS, roles log in as pg_hba.conf says")
        first = [*self.create_roles(), *self.revoke_memberships()]
        middle = [
            *self.alter_roles(),
            *self.database_owner(),
            *self.schemas(),
            *self.extensions(),
            *self.owners(),
            *self.grant_memberships(),
            *self.privileges(),
            *self.default_privileges(),
            *self.role_settings(),
        ]
        last = list(self.drop_retired())
        changes = self.with_memberships(first, middle, last)
        return Plan(tuple(changes), tuple(self.blocked), tuple(notes), not notes)

    # --- What the current user may do -----------------------------------------------------------

    def block(self, what: str, reason: str, remedy: str) -> None:
        item = Blocked(what, reason, remedy)
        if item not in self.blocked:
            self.blocked.append(item)

    def can_use(self, role: str) -> bool:
        """Whether the current user has, or can give itself, the privileges of a role."""
        if self.me.superuser or role == self.me.name:
            return True
        if role == "pg_database_owner":
            return self.can_use(self.catalog.database_owner)
        if role not in self.catalog.roles:
            return role in self.managed  # created by this plan
        if role in self.direct:
            return True
        return self.can_grant(role)

    def is_for_rds_to_say(self, role: str) -> bool:
        """Whether RDS decides who may grant a role; its catalog does not tell, a try does."""
        return role.startswith("rds_") and "rds_superuser" in self.direct

    def can_grant(self, role: str) -> bool:
        """Whether the current user may grant and revoke membership in a role."""
        if self.me.superuser or role not in self.catalog.roles or self.is_for_rds_to_say(role):
            return True
        if self.catalog.roles[role].superuser:
            return False
        return self.catalog.roles[role].admin or (not self.sixteen and self.me.createrole)

    def can_alter(self, role: str) -> bool:
        if self.me.superuser:
            return True
        found = self.catalog.roles[role]
        return not found.superuser and (not self.sixteen or found.admin)

    def admin_remedy(self, role: str) -> str:
        return (
            f"whoever created the role runs: GRANT {identifier(role)} TO {identifier(self.me.name)} WITH ADMIN OPTION"
        )

    def is_answerable(self, role: str) -> bool:
        """Whether the privileges of a role are ours to judge."""
        if role == PUBLIC or role in self.managed:
            return True
        found = self.catalog.roles.get(role)
        return found is not None and not found.superuser and not is_reserved(role)

    # --- Roles ----------------------------------------------------------------------------------

    def create_roles(self) -> Iterator[Change]:
        for role in self.managed.values():
            if role.name not in self.catalog.roles:
                yield Change(
                    f"role {role.name}",
                    "it does not exist",
                    f"CREATE ROLE {identifier(role.name)} {_login(role)} CONNECTION LIMIT {role.connection_limit}",
                )

    def alter_roles(self) -> Iterator[Change]:
        for role in self.managed.values():
            found = self.catalog.roles.get(role.name)
            if found is None:
                continue
            differences = {
                "SUPERUSER": found.superuser,
                "CREATEDB": found.createdb,
                "CREATEROLE": found.createrole,
                "REPLICATION": found.replication,
                "BYPASSRLS": found.bypassrls,
            }
            words = [f"NO{word}" for word, has in differences.items() if has]
            reasons = [f"it has {word}" for word, has in differences.items() if has]
            if not found.inherit:
                words.append("INHERIT")
                reasons.append("it has NOINHERIT")
            if found.login != (role.login == "iam"):
                words.append(_login(role))
                reasons.append("it may log in" if found.login else "it may not log in")
            if found.connection_limit != role.connection_limit:
                words.append(f"CONNECTION LIMIT {role.connection_limit}")
                reasons.append(f"its connection limit is {found.connection_limit}")
            if not words:
                continue
            # Who may change which attribute: https://www.postgresql.org/docs/current/sql-alterrole.html
            beyond = [
                word
                for word, mine in (
                    ("SUPERUSER", False),
                    ("REPLICATION", self.sixteen and self.me.replication),
                    ("BYPASSRLS", self.sixteen and self.me.bypassrls),
                    ("CREATEDB", not self.sixteen or self.me.createdb),
                )
                if differences[word] and not mine and not self.me.superuser
            ]
            if beyond:
                self.block(
                    f"role {role.name}",
                    f"it has {', '.join(beyond)}, which {self.me.name} may not take away",
                    f"a superuser runs: ALTER ROLE {identifier(role.name)} " + " ".join(f"NO{word}" for word in beyond),
                )
            elif not self.can_alter(role.name):
                self.block(
                    f"role {role.name}",
                    f"{', '.join(reasons)}, and {self.me.name} has no ADMIN OPTION on it",
                    self.admin_remedy(role.name),
                )
            else:
                yield Change(
                    f"role {role.name}",
                    ", ".join(reasons),
                    f"ALTER ROLE {identifier(role.name)} {' '.join(words)}",
                )

    def role_settings(self) -> Iterator[Change]:
        for role in self.managed.values():
            name = identifier(role.name)
            wanted = {
                "search_path": ", ".join(map(identifier, self.desired.schemas)),
                "statement_timeout": f"'{role.statement_timeout_seconds}s'",
            }
            own: dict[str, str] = {}
            here: dict[str, str] = {}
            for setting in self.catalog.settings:
                if setting.role == role.name:
                    (here if setting.database else own).update(setting.values)
            statements = []
            for key, value in wanted.items():
                if not _same_setting(key, own.get(key), role, self.desired.schemas):
                    reason = f"it is {own[key]}" if key in own else "it is not set"
                    statements.append((key, reason, f"ALTER ROLE {name} SET {key} = {value}"))
            if "role" in own:
                reason = f"sessions would become {own['role']}"
                statements.append(("role", reason, f"ALTER ROLE {name} RESET role"))
            statements += [
                (
                    f"{key} in this database",
                    f"it is set to {here[key]}, over the role's own",
                    f"ALTER ROLE {name} IN DATABASE {identifier(self.catalog.database)} RESET {key}",
                )
                for key in (*wanted, "role")
                if key in here
            ]
            if statements and role.name in self.catalog.roles and not self.can_alter(role.name):
                self.block(
                    f"role {role.name}",
                    f"its {statements[0][0]} differs, and {self.me.name} has no ADMIN OPTION on it",
                    self.admin_remedy(role.name),
                )
                continue
            for key, reason, sql in statements:
                yield Change(f"setting {key} of role {role.name}", reason, sql)

    # --- Memberships ----------------------------------------------------------------------------

    def revoke_memberships(self) -> Iterator[Change]:
        for membership in self.catalog.memberships:
            role, member, grantor = membership.role, membership.member, membership.grantor
            what = f"membership of {member} in {role}"
            words = f"REVOKE {identifier(role)} FROM {identifier(member)}"
            if member in self.managed:
                wanted = role == IAM_GROUP and self.managed[member].login == "iam"
                if wanted and not membership.admin:
                    continue
                if wanted:
                    reason = "it may make others members"
                    words = words.replace("REVOKE ", "REVOKE ADMIN OPTION FOR ", 1)
                else:
                    reason = f"{member} may not have the privileges of {role}"
            elif role in self.managed:
                if member == self.me.name or not self.is_answerable(member):
                    continue  # see with_memberships
                if self.sixteen and not (membership.inherit or membership.set):
                    continue  # it administers the role, and is no more than that
                reason = f"{member} could act as {role}"
            elif grantor in self.retired and self.sixteen:
                reason = f"{grantor}, who granted it, is retired"
            else:
                continue
            if not self.can_grant(role):
                self.block(
                    what,
                    f"{reason}, and {self.me.name} has no ADMIN OPTION on {role}",
                    f"{grantor} or a superuser runs: {words}",
                )
            elif not self.sixteen:
                yield Change(what, reason, words)
            elif self.me.superuser or self.can_use(grantor):
                by = f" GRANTED BY {identifier(grantor)} CASCADE"
                yield Change(what, reason, words + by, self.need(grantor))
            elif self.is_for_rds_to_say(role):
                yield Change(what, f"{reason} (granted by {grantor})", f"{words} CASCADE")
            else:
                self.block(
                    what,
                    f"{reason}, and only {grantor}, who granted it, can revoke it",
                    f"{grantor} runs: {words}",
                )

    def grant_memberships(self) -> Iterator[Change]:
        if IAM_GROUP not in self.catalog.roles:
            return
        members = {m.member for m in self.catalog.memberships if m.role == IAM_GROUP}
        for role in self.managed.values():
            if role.login != "iam" or role.name in members:
                continue
            what = f"membership of {role.name} in {IAM_GROUP}"
            sql = f"GRANT {identifier(IAM_GROUP)} TO {identifier(role.name)}"
            if not self.can_grant(IAM_GROUP):
                self.block(
                    what,
                    f"{self.me.name} has no ADMIN OPTION on {IAM_GROUP}",
                    f"a superuser runs: {sql}",
                )
                continue
            yield Change(what, "it logs in with IAM tokens", sql)
            if role.name in self.catalog.roles and self.can_alter(role.name):
                yield Change(
                    f"role {role.name}",
                    "it may have had a password, which a token replaces",
                    f"ALTER ROLE {identifier(role.name)} PASSWORD NULL",
                )

    def need(self, role: str) -> frozenset[str]:
        """The roles to be a member of for the privileges of a role."""
        if role == "pg_database_owner":
            role = self.catalog.database_owner
        return frozenset() if self.me.superuser or role == self.me.name else frozenset({role})

    def with_memberships(self, first: list[Change], middle: list[Change], last: list[Change]) -> list[Change]:
        """Add the memberships that a master without superuser needs while it changes things.

        They end before the transaction does: on RDS a member of a member of rds_iam, even for a
        moment after commit, could not log in with its password any more.
        """
        me = identifier(self.me.name)
        with_options = " WITH INHERIT TRUE, SET TRUE" if self.sixteen else ""
        by = f" GRANTED BY {me}" if self.sixteen else ""
        joined: list[str] = []

        def join(changes: list[Change]) -> Iterator[Change]:
            for change in changes:
                for role in sorted(change.needs - self.direct - set(joined)):
                    joined.append(role)
                    yield Change(
                        f"membership of {self.me.name} in {role}",
                        "needed for the next changes; revoked again below",
                        f"GRANT {identifier(role)} TO {me}{with_options}",
                        temporary=True,
                    )
                yield change

        changes = [*join(first), *join(middle)]
        gone = [name for name in joined if name in self.retired]
        leave = [name for name in joined if name not in gone]
        stale = [
            m.role
            for m in self.catalog.memberships
            if m.member == self.me.name
            and m.role in self.managed
            and m.role not in leave
            and not self.me.superuser
            # Only its grantor can revoke it; one of a superuser's is the platform's business.
            and (not self.sixteen or ((m.inherit or m.set) and m.grantor == self.me.name))
        ]
        changes += join(last)
        for role in [*leave, *dict.fromkeys(stale)]:
            reason = (
                "it was needed for the changes above"
                if role in leave
                else "a master that is a member of a role with IAM login loses its password login"
            )
            changes.append(
                Change(
                    f"membership of {self.me.name} in {role}",
                    reason,
                    f"REVOKE {identifier(role)} FROM {me}{by}",
                    temporary=role in leave,
                )
            )
        return changes

    # --- Ownership ------------------------------------------------------------------------------

    def database_owner(self) -> Iterator[Change]:
        owner = self.catalog.database_owner
        if owner not in self.managed and owner not in self.retired:
            return
        what = f"database {self.catalog.database}"
        if not self.can_use(owner) or not (self.me.superuser or self.me.createdb):
            self.block(what, f"it is owned by {owner}", "its owner or a superuser changes its owner")
            return
        yield Change(
            what,
            f"it is owned by {owner}, which may only own the managed schemas",
            f"ALTER DATABASE {identifier(self.catalog.database)} OWNER TO {identifier(self.me.name)}",
            self.need(owner),
        )

    def database_owner_to_be(self) -> str:
        """The owner of the database, after :meth:`database_owner`."""
        owner = self.catalog.database_owner
        return self.me.name if owner in self.managed or owner in self.retired else owner

    def schemas(self) -> Iterator[Change]:
        owner = identifier(self.owner)
        for name in self.desired.schemas:
            found = self.catalog.schemas.get(name)
            what = f"schema {name}"
            if found is not None and found.owner == self.owner:
                continue
            if not self.catalog.may_create_schema:
                self.block(
                    what,
                    f"it {'must change its owner' if found else 'does not exist'}, and "
                    f"{self.me.name} may not create schemas in {self.catalog.database}",
                    f"the database's owner runs: GRANT CREATE ON DATABASE "
                    f"{identifier(self.catalog.database)} TO {identifier(self.me.name)}",
                )
            elif found is None:
                yield Change(
                    what,
                    "it does not exist",
                    f"CREATE SCHEMA {identifier(name)} AUTHORIZATION {owner}",
                    self.need(self.owner),
                )
            elif not self.can_use(found.owner):
                self.block(
                    what,
                    f"it is owned by {found.owner}",
                    f"{found.owner} runs: ALTER SCHEMA {identifier(name)} OWNER TO {owner}",
                )
            else:
                yield Change(
                    what,
                    f"it is owned by {found.owner}",
                    f"ALTER SCHEMA {identifier(name)} OWNER TO {owner}",
                    self.need(self.owner) | self.need(found.owner),
                )
        # Before anything in a schema can be named, its owner must be able to use it.
        for name in self.desired.schemas:
            if (found := self.catalog.schemas.get(name)) is None:
                continue
            acl = after_new_owner(found.acl, found.owner, self.owner)
            lacking = self.owner_privileges("schema") - by_grantee(acl).get(self.owner, frozenset())
            if lacking and self.can_use(found.owner):
                yield Change(
                    f"schema {name}",
                    reason_for("GRANT", [self.owner], lacking),
                    in_the_name_of(
                        self.owner,
                        privilege_sql("GRANT", "schema", [identifier(name)], lacking, [self.owner]),
                    ),
                    self.need(self.owner),
                )
        for name, schema in self.catalog.schemas.items():
            if name in self.desired.schemas or schema.owner not in self.managed:
                continue
            yield from self.give_to_me(f"schema {name}", schema.owner, "SCHEMA", identifier(name))

    def give_to_me(self, what: str, owner: str, keyword: str, name: str, schema: str = "") -> Iterator[Change]:
        """Take what a managed role owns outside the managed schemas; who gets it must be able to make it there."""
        if not self.can_use(owner):
            self.block(what, f"it is owned by {owner}", self.admin_remedy(owner))
            return
        me = identifier(self.me.name)
        sql = f"ALTER {keyword} {name} OWNER TO {me}"
        needs = self.need(owner)
        if schema and (lacking := self.lacking_in(schema)):
            keeper = self.owner_to_be(schema)
            where = f"{privilege_list(lacking)} ON SCHEMA {identifier(schema)}"
            if not self.can_use(keeper):
                self.block(
                    what,
                    f"it is owned by {owner}, and {self.me.name} may not create in schema {schema}",
                    f"{keeper} runs: GRANT {where} TO {me}",
                )
                return
            sql = f"GRANT {where} TO {me};\n{sql};\nREVOKE {where} FROM {me}"
            needs |= self.need(keeper)
        yield Change(what, f"it is outside the managed schemas and owned by {owner}", sql, needs)

    def owner_to_be(self, schema: str) -> str:
        """The owner of a schema outside the managed ones, after :meth:`schemas`."""
        owner = self.catalog.schemas[schema].owner
        return self.me.name if owner in self.managed else owner

    def lacking_in(self, schema: str) -> frozenset[str]:
        """What the current user lacks for owning objects in a schema outside the managed ones."""
        if self.me.superuser:
            return frozenset()
        found, owner = self.catalog.schemas[schema], self.owner_to_be(schema)
        mine = {self.me.name, PUBLIC, *self.direct}
        if self.database_owner_to_be() in mine:
            mine.add("pg_database_owner")
        privileges = by_grantee(after_new_owner(found.acl, found.owner, owner))
        has = {privilege for role in mine for privilege in privileges.get(role, ())}
        return frozenset({"USAGE", "CREATE"} - has)

    def extensions(self) -> Iterator[Change]:
        for name in self.desired.extensions:
            if name in self.catalog.extensions:
                continue
            what = f"extension {name}"
            available = self.catalog.available_extensions.get(name)
            if available is None:
                self.block(
                    what,
                    "this server does not offer it",
                    "correct its name in project.yaml, or take it out",
                )
                continue
            on_rds = "rds_superuser" in self.direct
            if available["superuser"] and not (available["trusted"] or on_rds or self.me.superuser):
                self.block(
                    what,
                    "only a superuser may install it",
                    f"a superuser runs: CREATE EXTENSION {identifier(name)}",
                )
                continue
            fixed = available["schema"]
            where = "" if fixed else f" SCHEMA {identifier(self.desired.schemas[0])}"
            yield Change(
                what,
                "it is not installed",
                f"CREATE EXTENSION {identifier(name)}{where}",
                frozenset() if fixed else self.need(self.owner),
            )

    def owners(self) -> Iterator[Change]:
        """Give what is in the managed schemas to the owner role, in one statement list per owner."""
        wrong: dict[tuple[str, str], list[tuple[str, str]]] = defaultdict(list)
        for group in self.catalog.objects:
            if group.kind in {"column", "database"} or group.extension or group.linked:
                continue
            keyword = group.detail.upper() if group.kind == "other" else group.detail
            inside = group.schema in self.desired.schemas
            if group.kind in {"owned", "reference"}:
                self.refuse_retirement(group, inside)
            elif inside and group.owner != self.owner:
                wrong[group.schema, group.owner] += [(keyword, name) for name in group.names]
            elif group.schema and not inside and group.owner in self.managed:
                for name in group.names:
                    what = f"{keyword.lower()} {name}"
                    yield from self.give_to_me(what, group.owner, keyword, name, group.schema)
        for (schema, owner), names in wrong.items():
            if not self.can_use(owner):
                self.block(
                    label_of(names, schema),
                    f"owned by {owner}, whose objects {self.me.name} may not give away",
                    f"{owner} or a superuser runs ALTER … OWNER TO {identifier(self.owner)}",
                )
                continue
            for part in parts(names):
                yield Change(
                    label_of(part, schema),
                    f"owned by {owner}",
                    ";\n".join(f"ALTER {keyword} {name} OWNER TO {identifier(self.owner)}" for keyword, name in part),
                    self.need(owner) | self.need(self.owner),
                )

    # --- Privileges -----------------------------------------------------------------------------

    def privileges(self) -> Iterator[Change]:
        granting = Statements(self.me.name)
        revoking = Statements(self.me.name)
        everything = [*self.database_and_schemas(), *self.groups()]
        for target in everything:
            yield from self.end_loops(target)
            cascade, excess, missing = compare(target)
            for verb, found, into in (
                ("REVOKE GRANT OPTION FOR", cascade, revoking),
                ("REVOKE", excess, revoking),
                ("GRANT", missing, granting),
            ):
                for grantee, privileges in found.items():
                    if not self.can_use(target.owner):
                        if grantee == PUBLIC and not target.inside:
                            continue  # the platform's own objects
                        self.block(
                            target.label,
                            f"{who(grantee)} {'lacks' if verb == 'GRANT' else 'has'} "
                            f"{privilege_list(privileges)}, and it is owned by {target.owner}",
                            f"{target.owner} or a superuser corrects it",
                        )
                        continue
                    into.add(verb, target, grantee, privileges)
        yield from revoking.changes(self.need)
        yield from granting.changes(self.need)

    def end_loops(self, target: Target) -> Iterator[Change]:
        """Revoke, as its grantor, what the owner cannot revoke; the rest follows by the owner's own."""
        for (grantor, grantee), privileges in loops(target).items():
            for names in parts(target.names):
                reason = f"{who(grantee)} has {privilege_list(privileges)} by a grant of {grantor}"
                sql = privilege_sql("REVOKE", target.kind, names, privileges, [grantee])
                if self.can_use(grantor):
                    yield Change(target.label, reason, in_the_name_of(grantor, sql), self.need(grantor))
                else:
                    self.block(target.label, reason, f"{grantor} runs: {sql}")

    def allowed(self, kind: str, *, definer: bool = False) -> dict[str, frozenset[str]]:
        """What the managed roles have on an object of a kind in a managed schema."""
        found = {
            role.name: PRIVILEGES[role.profile].get(kind, frozenset())
            for role in self.managed.values()
            if role.profile != OWNER and not (definer and role.profile == READ_ONLY)
        }
        return {name: privileges for name, privileges in found.items() if privileges}

    def owner_privileges(self, kind: str) -> frozenset[str]:
        privileges = OWNER_PRIVILEGES.get(kind, frozenset())
        if kind == "table" and self.catalog.version >= 170000:
            privileges |= {"MAINTAIN"}
        return privileges

    def database_and_schemas(self) -> Iterator[Target]:
        catalog = self.catalog
        connect = frozenset({"CONNECT"})
        wanted = dict.fromkeys(self.managed, connect)
        wanted[self.owner] = frozenset({"CONNECT", "TEMPORARY"})
        new_owner = self.database_owner_to_be()
        yield Target(
            "database",
            "",
            (identifier(catalog.database),),
            new_owner,
            after_new_owner(catalog.database_acl, catalog.database_owner, new_owner),
            required=wanted,
            allowed=wanted,
            watched=self.is_answerable,
            inside=True,
            label=f"database {catalog.database}",
        )
        for name in self.desired.schemas:
            found = catalog.schemas.get(name)
            entries = found.acl if found else ()
            allowed = self.allowed("schema")
            yield Target(
                "schema",
                "",
                (identifier(name),),
                self.owner,
                after_new_owner(entries, found.owner if found else self.owner, self.owner),
                required=allowed,  # the owner's own: see schemas()
                allowed=allowed,
                watched=self.is_answerable,
                inside=True,
                label=f"schema {name}",
            )
        for name, schema in catalog.schemas.items():
            if name not in self.desired.schemas:
                new_owner = self.owner_to_be(name)
                yield Target(
                    "schema",
                    "",
                    (identifier(name),),
                    new_owner,
                    after_new_owner(schema.acl, schema.owner, new_owner),
                    allowed={PUBLIC: PUBLIC_ELSEWHERE["schema"]},
                    watched=self.is_subject_or_public,
                    label=f"schema {name}",
                )

    def is_subject_or_public(self, grantee: str) -> bool:
        return grantee == PUBLIC or self.is_subject(grantee)

    def is_subject(self, grantee: str) -> bool:
        return grantee in self.managed or grantee in self.retired

    def groups(self) -> Iterator[Target]:
        for group in self.catalog.objects:
            if group.kind in {"other", "owned", "reference"}:
                continue
            label = f"{group.kind} {group.names[0]}"
            if group.schema in self.desired.schemas and not group.extension:
                allowed = self.allowed(group.kind, definer=group.definer)
                required = dict(allowed)
                if own := self.owner_privileges(group.kind):
                    required[self.owner] = own
                if group.kind == "type":
                    allowed[PUBLIC] = frozenset({"USAGE"})  # PostgreSQL's default, and harmless
                yield Target(
                    group.kind,
                    group.schema,
                    group.names,
                    self.owner,
                    after_new_owner(group.acl, group.owner, self.owner),
                    required=required,
                    allowed=allowed,
                    watched=self.is_answerable,
                    inside=True,
                    label=label,
                )
            else:
                ours = group.schema in self.catalog.schemas and not group.extension
                judged = self.is_subject_or_public if ours else self.is_subject
                given = group.owner in self.managed and group.schema
                new_owner = self.me.name if given and not group.extension else group.owner
                public = PUBLIC_ELSEWHERE.get(group.kind, frozenset())
                yield Target(
                    group.kind,
                    group.schema,
                    group.names,
                    new_owner,
                    after_new_owner(group.acl, group.owner, new_owner),
                    allowed={PUBLIC: public},
                    watched=judged,
                    label=label,
                )

    def default_privileges(self) -> Iterator[Change]:
        """Privileges of objects that do not exist yet."""
        found = {(item.role, item.schema, item.kind): item for item in self.catalog.defaults}
        keys: list[tuple[str, str | None, str]] = [(self.owner, None, "f")]
        keys += [(self.owner, schema, kind) for schema in self.desired.schemas for kind in "rSf"]
        # Newly made functions are PUBLIC's unless the creator's global defaults say otherwise.
        for key in dict.fromkeys([*keys, *found]):
            role, schema, kind = key
            if schema == "" or kind not in DEFAULT_KINDS:
                continue  # a schema of the server itself
            item = found.get(key)
            if item:
                builtin = by_grantee(item.builtin) if schema is None else {}
                entries = item.acl
            else:
                execute = frozenset({"EXECUTE"})
                builtin = {PUBLIC: execute, role: execute} if schema is None else {}
                entries = tuple(Entry(grantee, role, "EXECUTE", False) for grantee in builtin)
            yield from self.correct_defaults(role, schema, kind, entries, builtin)

    def correct_defaults(
        self,
        role: str,
        schema: str | None,
        kind: str,
        entries: tuple[Entry, ...],
        builtin: dict[str, frozenset[str]],
    ) -> Iterator[Change]:
        object_kind, keyword = DEFAULT_KINDS[kind]
        allowed, required = dict(builtin), {}
        watched: Callable[[str], bool] = self.is_answerable
        if role in self.retired:
            required, watched = builtin, lambda _: True  # back to PostgreSQL's own: no trace of it
        elif role == self.owner and schema in self.desired.schemas:
            allowed = required = self.allowed(object_kind)
        elif role == self.owner and schema is None:
            if kind == "f":
                allowed.pop(PUBLIC, None)
            required = {role: builtin.get(role, frozenset())}
        elif role not in self.managed:
            if not self.is_answerable(role):
                return
            if schema not in self.desired.schemas:
                watched = self.is_subject
        target = Target(
            object_kind,
            "",
            (),
            role,
            entries,
            required=required,
            allowed=allowed,
            watched=watched,
            label="",
        )
        cascade, excess, missing = compare(target, own=role in self.retired and schema is not None)
        where = f" IN SCHEMA {identifier(schema)}" if schema is not None else ""
        what = f"default privileges of {role} on {keyword.lower()}" + (
            f" in schema {schema}" if schema is not None else ""
        )
        for verb, found in (
            ("REVOKE GRANT OPTION FOR", cascade),
            ("REVOKE", excess),
            ("GRANT", missing),
        ):
            for privileges, grantees in same_privileges(found):
                if not self.can_use(role):
                    self.block(
                        what,
                        f"{reason_for(verb, grantees, privileges)} and only {role} can change it",
                        self.admin_remedy(role),
                    )
                    continue
                yield Change(
                    what,
                    f"{reason_for(verb, grantees, privileges)} on objects that {role} will create",
                    f"ALTER DEFAULT PRIVILEGES FOR ROLE {identifier(role)}{where} {verb} "
                    f"{privilege_list(privileges)} ON {keyword} {to_or_from(verb)} {grantee_list(grantees)}"
                    + ("" if verb == "GRANT" else " CASCADE"),
                    self.need(role),
                )

    # --- Retirement -----------------------------------------------------------------------------

    def refuse_retirement(self, group: Objects, inside: bool) -> None:
        """Note what keeps a retired role from being dropped and is not ours to move."""
        names = list(group.names)
        if group.kind == "owned":
            if inside or group.schema.startswith("pg_temp"):
                return  # it goes to the owner role
            ours = {
                "schema": self.desired.schemas,
                "database": (self.catalog.database,),
            }.get(group.detail, ())
            names = [n for n in names if n not in ours and n not in map(identifier, ours)]
        if not names:
            return
        more = f" and {len(names) - 20} more" if len(names) > 20 else ""
        listed = ", ".join(f"{group.detail} {name}" for name in names[:20]) + more
        verb = "owns" if group.kind == "owned" else "is mentioned by"
        self.block(
            f"role {group.owner}",
            f"it is retired and still {verb} {listed}",
            "drop these or give them to another role, then apply again",
        )

    def drop_retired(self) -> Iterator[Change]:
        for name in self.retired:
            if not self.can_alter(name) or not self.can_grant(name):
                self.block(
                    f"role {name}",
                    f"it is retired, and {self.me.name} may not drop it",
                    self.admin_remedy(name),
                )
                continue
            yield Change(f"role {name}", "it is retired", f"DROP ROLE {identifier(name)}")


def _login(role: Role) -> str:
    return "LOGIN" if role.login == "iam" else "NOLOGIN"


_UNITS = {"": 1, "us": 0.001, "ms": 1, "s": 1000, "min": 60_000, "h": 3_600_000, "d": 86_400_000}


def _same_setting(key: str, value: str | None, role: Role, schemas: Sequence[str]) -> bool:
    if value is None:
        return False
    if key == "search_path":
        return split_identifiers(value) == list(schemas)
    match = re.fullmatch(r"\s*(\d+)\s*([a-z]*)\s*", value)
    if match is None or match.group(2) not in _UNITS:
        return False
    return int(match.group(1)) * _UNITS[match.group(2)] == role.statement_timeout_seconds * 1000
