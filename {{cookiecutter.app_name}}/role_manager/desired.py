"""The desired state: what project.yaml declares under `database_roles`, parsed and checked."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping
from typing import Any

from role_manager.sql import MAX_NAME_BYTES

OWNER, READ_WRITE, READ_ONLY = "owner", "read-write", "read-only"
PROFILES = (OWNER, READ_WRITE, READ_ONLY)
LOGINS = ("iam", "none")

# Roles of PostgreSQL and RDS, which are never touched: every name that begins with pg_, and those of
# https://docs.aws.amazon.com/AmazonRDS/latest/AuroraUserGuide/AuroraPostgreSQL.Reference.html
RESERVED_ROLE = "pg_.*|rds_.*|rdsadmin|rdsrepladmin|rdsproxyadmin|rdstopmgr|rdswriteforwarduser|public|none"
# The words of pg_identify_object, which `plan` prints; function, procedure, aggregate and routine mean the same, as do
# type and domain. `role NAME`: whatever that role owns in the managed schemas.
ADOPTABLE = (
    "schema", "table", "view", "materialized view", "foreign table", "sequence", "function", "procedure", "aggregate",
    "routine", "type", "domain", "collation", "conversion", "operator", "operator class", "operator family",
    "statistics object", "text search configuration", "text search dictionary", "large object", "publication", "role",
)  # fmt: skip
# The longest kind first: "operator class x" is no operator.
_ADOPTION = re.compile(rf"({'|'.join(sorted(ADOPTABLE, key=len, reverse=True))}) +(\S.*?) *")
_RESERVED_SCHEMA = r"pg_.*|information_schema|\$user"


class InvalidDesiredStateError(ValueError):
    """The desired state breaks rules; `problems` has one line for each."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("The desired state is not valid:\n" + "\n".join(f"- {p}" for p in problems))
        self.problems = problems


@dataclasses.dataclass(frozen=True)
class Role:
    """A managed role.

    Attributes:
        name: its name.
        profile: `owner`, `read-write` or `read-only`.
        login: `iam` (a member of rds_iam, logs in with a token) or `none`.
        connection_limit: sessions at a time; -1 is no limit.
        statement_timeout_seconds: 0 is no limit.

    """

    name: str
    profile: str
    login: str = "iam"
    connection_limit: int = -1
    statement_timeout_seconds: int = 0


@dataclasses.dataclass(frozen=True)
class DesiredState:
    """What the database shall look like.

    Attributes:
        schemas: the managed schemas, in the order of the search_path.
        roles: the managed roles, by name. Exactly one has the profile owner.
        extensions: extensions that must be there. Others are left alone.
        retired: roles that must be gone.
        adopt: kind and name of what the owner may take over from others.

    """

    schemas: tuple[str, ...]
    roles: Mapping[str, Role]
    extensions: tuple[str, ...] = ()
    retired: tuple[str, ...] = ()
    adopt: tuple[tuple[str, str], ...] = ()

    @property
    def owner(self) -> Role:
        """The role that owns the schemas and everything in them."""
        return next(role for role in self.roles.values() if role.profile == OWNER)


def is_reserved(role: str) -> bool:
    """Say whether a role belongs to PostgreSQL or RDS."""
    return _matches(RESERVED_ROLE, role)


def parse(data: Any) -> DesiredState:
    """Read the desired state from parsed JSON or YAML.

    Args:
        data: a mapping with `schemas`, `roles` and, if wanted, `extensions`, `retired` and `adopt`.

    Raises:
        InvalidDesiredStateError: with every problem there is.

    """
    if not isinstance(data, Mapping):
        raise InvalidDesiredStateError(["database_roles: must be a mapping with schemas and roles"])
    problems = list(_unknown(data, "database_roles", ("schemas", "roles", "extensions", "retired", "adopt")))
    schemas, extensions, retired = (_names(data, key, problems) for key in ("schemas", "extensions", "retired"))
    if not schemas:
        problems.append("database_roles.schemas: at least one schema is needed")
    given = data.get("roles")
    if not isinstance(given, Mapping) or not given:
        problems.append("database_roles.roles: must be a mapping of role names to their settings")
        given = {}
    roles = {name: role for name, settings in given.items() if (role := _role(name, settings, problems))}
    owners = sum(role.profile == OWNER for role in roles.values())
    if given and owners != 1:
        problems.append(f"database_roles.roles: exactly one role has the profile {OWNER}, not {owners}")
    for key, names, reserved in (
        ("schemas", schemas, _RESERVED_SCHEMA),
        ("roles", roles, RESERVED_ROLE),
        ("retired", retired, RESERVED_ROLE),
    ):
        reason = "is a reserved name of PostgreSQL or RDS"
        problems += [f"database_roles.{key}: {name!r} {reason}" for name in names if _matches(reserved, name)]
    problems += [f"database_roles.retired: {name!r} is also listed under roles" for name in retired if name in roles]
    adopt = _adoptions(data.get("adopt") or [], problems)
    if problems:
        raise InvalidDesiredStateError(problems)
    return DesiredState(schemas, roles, extensions, retired, adopt)


def _matches(pattern: str, name: str) -> bool:
    return re.fullmatch(pattern, name, re.DOTALL) is not None


def _role(name: Any, settings: Any, problems: list[str]) -> Role | None:
    where = f"database_roles.roles.{name}"
    if problem := _name_problem(name):
        problems.append(f"database_roles.roles: {name!r} {problem}")
        return None
    if not isinstance(settings, Mapping):
        problems.append(f"{where}: must be a mapping with at least a profile")
        return None
    found = list(_unknown(settings, where, tuple(field.name for field in dataclasses.fields(Role))[1:]))
    values = {"login": "iam", **settings}
    for key, words in (("profile", PROFILES), ("login", LOGINS)):
        if values.get(key) not in words:
            found.append(f"{where}.{key}: {values.get(key)!r} is not one of {', '.join(words)}")
    # PostgreSQL's own limits, of which the least is the default; a day is more than any statement of a service needs.
    for key, least, most in (("connection_limit", -1, 262_142), ("statement_timeout_seconds", 0, 86_400)):
        value = values.get(key, least)
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            found.append(f"{where}.{key}: {value!r} is not a whole number from {least} to {most}")
    problems += found
    return None if found else Role(name, **values)


def _adoptions(value: Any, problems: list[str]) -> tuple[tuple[str, str], ...]:
    if not isinstance(value, list | tuple):
        problems.append("database_roles.adopt: must be a list such as [table app.orders]")
        return ()
    found: list[tuple[str, str]] = []
    for item in value:
        # Lone surrogates and zero bytes are no text for the server.
        match = _ADOPTION.fullmatch(item) if isinstance(item, str) and item.isprintable() else None
        if match:
            found.append((match[1], match[2]))
        else:
            problems.append(
                f"database_roles.adopt: {item!r} is not a kind and a name as the plan prints them, such as "
                f"'function app.f(integer)'; kinds are {', '.join(ADOPTABLE)}"
            )
    return tuple(found)


def _names(data: Mapping[Any, Any], key: str, problems: list[str]) -> tuple[str, ...]:
    where, value = f"database_roles.{key}", data.get(key) or []
    if not isinstance(value, list | tuple):
        problems.append(f"{where}: must be a list of names")
        return ()
    names: list[str] = []
    for item in value:
        if problem := _name_problem(item) or ("is listed twice" if item in names else ""):
            problems.append(f"{where}: {item!r} {problem}")
        else:
            names.append(item)
    return tuple(names)


def _name_problem(name: Any) -> str:
    if not isinstance(name, str):
        return "is not text (put it in quotes)"
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        return "is not valid Unicode"
    if not name or "\0" in name:
        return "contains a zero byte" if name else "is empty"
    return f"is longer than {MAX_NAME_BYTES} bytes" if size > MAX_NAME_BYTES else ""


def _unknown(data: Mapping[Any, Any], where: str, known: tuple[str, ...]) -> Iterator[str]:
    return (f"{where}: unknown key {key!r}; known are {', '.join(known)}" for key in data if key not in known)
