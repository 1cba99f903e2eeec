"""The desired state: what project.yaml declares under `database_roles`, parsed and checked."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
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
_RESERVED_SCHEMA = re.compile(r"pg_.*|information_schema|\$user", re.DOTALL)


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
    return re.fullmatch(RESERVED_ROLE, role, re.DOTALL) is not None


def parse(data: Any) -> DesiredState:
    """Read the desired state from parsed JSON or YAML.

    Args:
        data: a mapping with `schemas`, `roles` and, if wanted, `extensions`, `retired` and `adopt`.

    Raises:
        InvalidDesiredStateError: with every problem there is.

    """
    problems: list[str] = []
    if not isinstance(data, Mapping):
        raise InvalidDesiredStateError(["database_roles: must be a mapping with schemas and roles"])
    _refuse_unknown(data, "database_roles", ("schemas", "roles", "extensions", "retired", "adopt"), problems)
    schemas = _names(data.get("schemas"), "schemas", problems)
    extensions = _names(data.get("extensions") or [], "extensions", problems)
    retired = _names(data.get("retired") or [], "retired", problems)
    adopt = _adoptions(data.get("adopt") or [], problems)
    problems += [
        f"database_roles.schemas: {name!r} is reserved by PostgreSQL"
        for name in schemas
        if _RESERVED_SCHEMA.fullmatch(name)
    ]
    if not schemas:
        problems.append("database_roles.schemas: at least one schema is needed")

    roles: dict[str, Role] = {}
    given = data.get("roles")
    if not isinstance(given, Mapping) or not given:
        problems.append("database_roles.roles: must be a mapping of role names to their settings")
        given = {}
    for name, settings in given.items():
        if role := _role(name, settings, problems):
            roles[role.name] = role
    owners = [role.name for role in roles.values() if role.profile == OWNER]
    if given and len(owners) != 1:
        problems.append(f"database_roles.roles: exactly one role has the profile {OWNER}, not {len(owners)}")
    for where, names in (("roles", list(roles)), ("retired", retired)):
        problems += [
            f"database_roles.{where}: {name!r} is a reserved name of PostgreSQL or RDS"
            for name in names
            if is_reserved(name)
        ]
    problems += [f"database_roles.retired: {name!r} is also listed under roles" for name in retired if name in roles]
    if problems:
        raise InvalidDesiredStateError(problems)
    return DesiredState(tuple(schemas), roles, tuple(extensions), tuple(retired), tuple(adopt))


def _role(name: Any, settings: Any, problems: list[str]) -> Role | None:
    where = f"database_roles.roles.{name}"
    before = len(problems)
    if problem := _name_problem(name):
        problems.append(f"database_roles.roles: {name!r} {problem}")
        return None
    if not isinstance(settings, Mapping):
        problems.append(f"{where}: must be a mapping with at least a profile")
        return None
    fields = tuple(field.name for field in dataclasses.fields(Role) if field.name != "name")
    _refuse_unknown(settings, where, fields, problems)
    profile, login = settings.get("profile"), settings.get("login", "iam")
    if profile not in PROFILES:
        problems.append(f"{where}.profile: {profile!r} is not one of {', '.join(PROFILES)}")
    if login not in LOGINS:
        problems.append(f"{where}.login: {login!r} is not one of {', '.join(LOGINS)}")
    numbers = {}
    # PostgreSQL's own limits; a day is more than any statement of a service needs.
    for key, default, least, most in (
        ("connection_limit", -1, -1, 262_142),
        ("statement_timeout_seconds", 0, 0, 86_400),
    ):
        value = settings.get(key, default)
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            problems.append(f"{where}.{key}: {value!r} is not a whole number from {least} to {most}")
        else:
            numbers[key] = value
    return Role(name, str(profile), str(login), **numbers) if len(problems) == before else None


def _adoptions(value: Any, problems: list[str]) -> list[tuple[str, str]]:
    if not isinstance(value, list | tuple):
        problems.append("database_roles.adopt: must be a list such as [table app.orders]")
        return []
    found: list[tuple[str, str]] = []
    for item in value:
        # Lone surrogates and zero bytes are no text for the server.
        text = item if isinstance(item, str) and "\0" not in item and item.isprintable() else ""
        # The longest kind first: "operator class x" is no operator.
        kind = next((k for k in sorted(ADOPTABLE, key=len, reverse=True) if text.startswith(k + " ")), None)
        if kind is None or not text[len(kind) + 1 :].strip():
            problems.append(
                f"database_roles.adopt: {item!r} is not a kind and a name as the plan prints them, such as "
                f"'function app.f(integer)'; kinds are {', '.join(ADOPTABLE)}"
            )
        else:
            found.append((kind, text[len(kind) + 1 :].strip()))
    return found


def _names(value: Any, key: str, problems: list[str]) -> list[str]:
    where = f"database_roles.{key}"
    if not isinstance(value, list | tuple):
        problems.append(f"{where}: must be a list of names")
        return []
    names: list[str] = []
    for item in value:
        if problem := _name_problem(item):
            problems.append(f"{where}: {item!r} {problem}")
        elif item in names:
            problems.append(f"{where}: {item!r} is listed twice")
        else:
            names.append(item)
    return names


def _name_problem(name: Any) -> str | None:
    if not isinstance(name, str):
        return "is not text (put it in quotes)"
    if not name:
        return "is empty"
    if "\0" in name:
        return "contains a zero byte"
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        return "is not valid Unicode"
    if size > MAX_NAME_BYTES:
        return f"is longer than {MAX_NAME_BYTES} bytes"
    return None


def _refuse_unknown(data: Mapping[Any, Any], where: str, known: tuple[str, ...], problems: list[str]) -> None:
    problems += [f"{where}: unknown key {key!r}; known are {', '.join(known)}" for key in data if key not in known]
