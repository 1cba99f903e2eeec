"""What catalog.sql reads: one query, whose rows become a :class:`Catalog`.

The rest of the package knows names only, and names of objects as the server quotes them. `PUBLIC` stands for everybody.
"""

from __future__ import annotations

import dataclasses
import json
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from role_manager.desired import OWNER, READ_ONLY, READ_WRITE, RESERVED_ROLE, DesiredState
from role_manager.sql import literal

PUBLIC = ""  # no role can have this name
IAM_GROUP = "rds_iam"

# What each profile may do with what is in the managed schemas, by kind of object. Owning is more than any of it.
# Sequences: USAGE is nextval, SELECT is reading the last value.
# Queries and views call functions. A reader none that run with their owner's privileges (SECURITY DEFINER): through them
# it could write.
_USE = {"database": ("CONNECT",), "schema": ("USAGE",), "function": ("EXECUTE",), "procedure": ("EXECUTE",)}
PRIVILEGES: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    OWNER: {"database": ("CONNECT", "TEMPORARY")},
    READ_WRITE: {**_USE, "table": ("SELECT", "INSERT", "UPDATE", "DELETE"), "sequence": ("USAGE", "SELECT")},
    READ_ONLY: {**_USE, "table": ("SELECT",), "sequence": ("SELECT",)},
}
# What PUBLIC may have outside of the managed schemas: PostgreSQL's defaults, and reading.
PUBLIC_ELSEWHERE = {
    "database": ["CONNECT", "TEMPORARY"],
    "schema": ["USAGE"],
    "table": ["SELECT"],
    "column": ["SELECT"],
    "sequence": ["SELECT"],
    "function": ["EXECUTE"],
    "procedure": ["EXECUTE"],
    "type": ["USAGE"],
}
# Letters of pg_default_acl: https://www.postgresql.org/docs/current/catalog-pg-default-acl.html
DEFAULT_KINDS = {"r": "table", "S": "sequence", "f": "function", "T": "type", "n": "schema", "L": "large object"}
# Settings of a database or of all roles that change what a session can do; search_path and statement_timeout are not
# among them: a managed role has its own, which win.
SESSION_SETTINGS = (
    "role", "session_authorization", "session_replication_role", "row_security", "event_triggers",
    "default_transaction_read_only", "default_transaction_isolation", "default_transaction_deferrable",
    "lock_timeout", "transaction_timeout", "idle_in_transaction_session_timeout", "idle_session_timeout",
    "session_preload_libraries", "local_preload_libraries", "default_tablespace", "temp_tablespaces",
    "default_table_access_method", "createrole_self_grant", "check_function_bodies", "allow_system_table_mods",
    "zero_damaged_pages", "ignore_checksum_failure", "ignore_system_indexes", "transform_null_equals",
    "standard_conforming_strings", "restrict_nonsystem_relation_kind",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class ServerRole:
    """A role as the server has it; its attributes are in SQL's words.

    `admin`: the current user has the ADMIN option on it; `usable`: its privileges too, or can give them to itself.
    """

    name: str
    attributes: tuple[str, ...]
    connection_limit: int
    admin: bool
    usable: bool

    @property
    def superuser(self) -> bool:
        """Whether it may do anything."""
        return "SUPERUSER" in self.attributes


@dataclasses.dataclass(frozen=True)
class Membership:
    """`member` is a member of `role`, granted by `grantor`. Before 16, inherit and set always hold."""

    role: str
    member: str
    grantor: str
    admin: bool
    inherit: bool
    set: bool


@dataclasses.dataclass(frozen=True)
class Owned:
    """Something whose owner is not as declared: in a managed schema (`inside`), or a managed role's anywhere else.

    `taken`: project.yaml or its present owner (the master, or the retired owner of the schema) says that it may be taken
    over. `runs`: what of it runs as its owner.
    """

    type: str
    name: str
    schema: str
    owner: str
    inside: bool
    taken: bool
    bulk: bool
    runs: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Entry:
    """One privilege in an access control list; `excess`: it must not be there in this form."""

    grantee: str
    grantor: str
    privilege: str
    grantable: bool
    excess: bool


@dataclasses.dataclass(frozen=True)
class Privileges:
    """Objects with equal privileges that are not as declared. `owner` is the one after the plan's changes of owner."""

    kind: str
    owner: str
    old_owner: str
    names: tuple[str, ...]
    entries: tuple[Entry, ...]
    missing: tuple[tuple[str, str], ...]


@dataclasses.dataclass(frozen=True)
class Catalog:
    """Everything the plan compares with the desired state. What has no class here stands as catalog.sql names it.

    `refused`: roles that the server did not grant to the current user when it was tried, see `actions`.
    """

    server: Mapping[str, Any]
    roles: Mapping[str, ServerRole]
    memberships: tuple[Membership, ...]
    owned: tuple[Owned, ...]
    privileges: tuple[Privileges, ...]
    other: Mapping[str, list[dict[str, Any]]]
    refused: frozenset[str] = frozenset()

    @property
    def me(self) -> ServerRole:
        """The role that reads, and that would apply."""
        return self.roles[self.server["user"]]


def document(desired: DesiredState) -> str:
    """Write what the queries need to know of the desired state, as an SQL constant."""
    wanted = [
        # Whether it holds for routines that are SECURITY DEFINER as well.
        [kind, role.name, privilege, role.profile != READ_ONLY]
        for role in desired.roles.values()
        for kind, privileges in PRIVILEGES[role.profile].items()
        for privilege in privileges
    ]
    return literal(
        json.dumps(
            {
                "schemas": desired.schemas,
                "roles": {role.name: role.profile for role in desired.roles.values()},
                "owner": desired.owner.name,
                "retired": desired.retired,
                "adopt": desired.adopt,
                "extensions": desired.extensions,
                "reserved": f"^(?:{RESERVED_ROLE})$",
                "wanted": wanted,
                "public": PUBLIC_ELSEWHERE,
                "letters": DEFAULT_KINDS,
                "session_settings": SESSION_SETTINGS,
            },
            ensure_ascii=False,
        )
    )


def query(desired: DesiredState, file: str = "catalog.sql") -> str:
    """Write the query of a file of this package for a desired state."""
    text, common = (Path(__file__).with_name(name).read_text(encoding="utf-8") for name in (file, "common.sql"))
    return text.replace(":common", common).replace(":desired", document(desired))


def parse(rows: list[list[Any]]) -> Catalog:
    """Turn the rows of catalog.sql into a :class:`Catalog`."""
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    # One order whatever the server's, so that equal databases have equal plans.
    for section, item in sorted(rows, key=lambda row: json.dumps(row, sort_keys=True)):
        found[section].append({key: _tuple(value) if isinstance(value, list) else value for key, value in item.items()})
    privileges = [
        item | {"entries": tuple(Entry(*entry) for entry in item["entries"])} for item in found.pop("privileges", ())
    ]
    return Catalog(
        server=found.pop("server")[0],
        roles={item["name"]: ServerRole(**item) for item in found.pop("role")},
        memberships=tuple(Membership(**item) for item in found.pop("membership", ())),
        owned=tuple(Owned(**item) for item in found.pop("owned", ())),
        privileges=tuple(Privileges(**item) for item in privileges),
        other=found,
    )


def _tuple(items: list[Any]) -> tuple[Any, ...]:
    return tuple(sorted(tuple(item) if isinstance(item, list) else item for item in items))
