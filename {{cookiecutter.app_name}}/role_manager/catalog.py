"""Reads from the system catalogs everything that the plan compares, in two queries of fixed number.

Objects with equal kind, schema, owner and privileges come back as one group with a list of names, so that
ten thousand tables alike are one row. Object identifiers become names here; the rest of the package knows
names only. `PUBLIC` stands for everybody.
"""

from __future__ import annotations

import dataclasses
from typing import Any

from role_manager.desired import DesiredState
from role_manager.sql import literal, text_array

PUBLIC = ""  # no role can have this name

# Schemas of the server itself.
_SYSTEM = "(n.nspname LIKE 'pg\\_%' OR n.nspname = 'information_schema')"
_TEMPORARY = "(n.nspname LIKE 'pg\\_temp\\_%' OR n.nspname LIKE 'pg\\_toast%')"


@dataclasses.dataclass(frozen=True)
class Entry:
    """One privilege in an access control list."""

    grantee: str
    grantor: str
    privilege: str
    grantable: bool


@dataclasses.dataclass(frozen=True)
class ServerRole:
    """A role as the server has it. `admin`: the current user has the ADMIN option on it."""

    name: str
    superuser: bool
    inherit: bool
    createrole: bool
    createdb: bool
    login: bool
    replication: bool
    bypassrls: bool
    connection_limit: int
    admin: bool


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
class Setting:
    """Settings of a role (`database` is False) or of a role in this database (True)."""

    role: str
    database: bool
    values: dict[str, str]


@dataclasses.dataclass(frozen=True)
class Schema:
    """A schema that is not the server's own."""

    name: str
    owner: str
    acl: tuple[Entry, ...]


@dataclasses.dataclass(frozen=True)
class DefaultPrivileges:
    """Privileges that objects get which `role` creates, in `schema` or (None) anywhere.

    `kind` is the letter of pg_default_acl; `builtin` is what PostgreSQL gives without this row.
    """

    role: str
    schema: str | None
    kind: str
    acl: tuple[Entry, ...]
    builtin: tuple[Entry, ...]


@dataclasses.dataclass(frozen=True)
class Objects:
    """Objects with equal owner and privileges.

    Attributes:
        kind: table (anything with rows), sequence, routine, type, column, large object, language,
            foreign data wrapper, foreign server, tablespace, parameter, database, other (without
            privileges), owned (of a retired role, anywhere), reference (to a retired role).
        detail: the SQL keyword for ALTER, or more about it.
        schema: where they are, empty outside of schemas.
        definer: routines that run with their owner's privileges.
        extension: they belong to an extension.
        linked: their owner follows that of a table (sequences of columns).
        names: quoted, ready for SQL.

    """

    kind: str
    detail: str
    schema: str
    owner: str
    definer: bool
    extension: bool
    linked: bool
    acl: tuple[Entry, ...]
    names: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Catalog:
    """Everything the plan compares with the desired state."""

    version: int
    user: str
    database: str
    database_owner: str
    database_acl: tuple[Entry, ...]
    may_create_schema: bool
    roles: dict[str, ServerRole]
    memberships: tuple[Membership, ...]
    settings: tuple[Setting, ...]
    schemas: dict[str, Schema]
    defaults: tuple[DefaultPrivileges, ...]
    extensions: frozenset[str]
    available_extensions: dict[str, dict[str, Any]]
    objects: tuple[Objects, ...]

    @property
    def me(self) -> ServerRole:
        """The role that reads, and that would apply."""
        return self.roles[self.user]


def queries(desired: DesiredState) -> str:
    """Write the two SELECTs whose rows :func:`parse` takes, as one SQL text."""
    subjects = text_array([*desired.roles, *desired.retired])
    retired, schemas = text_array(list(desired.retired)), text_array(list(desired.schemas))
    return f"{_facts(desired)};\n{_objects(subjects, retired, schemas, desired.owner.name)}"


def parse(rows: list[list[Any]]) -> Catalog:
    """Turn the rows of :func:`queries` into a :class:`Catalog`."""
    facts = rows[0][0]
    names: dict[int, str] = {role["oid"]: role["name"] for role in facts["roles"]}
    names[0] = PUBLIC
    schema_names: dict[int, str] = {schema["oid"]: schema["name"] for schema in facts["schemas"]}

    def role(oid: int) -> str:
        return names.get(oid, f"(role {oid})")

    def acl(entries: list[list[Any]] | None) -> tuple[Entry, ...]:
        return tuple(
            Entry(role(grantee), role(grantor), privilege, grantable)
            for grantee, grantor, privilege, grantable in entries or ()
        )

    return Catalog(
        version=facts["version"],
        user=role(facts["user"]),
        database=facts["database"]["name"],
        database_owner=role(facts["database"]["owner"]),
        database_acl=acl(facts["database"]["acl"]),
        may_create_schema=facts["database"]["create"],
        roles={item["name"]: ServerRole(**{k: v for k, v in item.items() if k != "oid"}) for item in facts["roles"]},
        memberships=tuple(
            Membership(
                role(item["roleid"]),
                role(item["member"]),
                role(item["grantor"]),
                item["admin_option"],
                item.get("inherit_option", True),
                item.get("set_option", True),
            )
            for item in facts["memberships"] or ()
        ),
        settings=tuple(
            Setting(
                role(item["role"]),
                item["database"] != 0,
                dict(value.split("=", 1) for value in item["values"]),
            )
            for item in facts["settings"] or ()
        ),
        schemas={
            item["name"]: Schema(item["name"], role(item["owner"]), acl(item["acl"])) for item in facts["schemas"]
        },
        defaults=tuple(
            DefaultPrivileges(
                role(item["role"]),
                schema_names.get(item["schema"], "") if item["schema"] else None,
                item["kind"],
                acl(item["acl"]),
                acl(item["builtin"]),
            )
            for item in facts["defaults"] or ()
        ),
        extensions=frozenset(facts["extensions"] or ()),
        available_extensions={item["name"]: item for item in facts["available"] or ()},
        objects=tuple(
            Objects(
                kind=row[0],
                detail=row[1],
                schema=row[2],
                owner=role(row[3]),
                definer=row[4],
                extension=row[5],
                linked=row[6],
                acl=acl(row[7]),
                names=tuple(sorted(row[8])),
            )
            for row in rows[1:]
        ),
    )


def _explode(acl: str) -> str:
    return (
        "(SELECT json_agg(json_build_array(a.grantee::bigint, a.grantor::bigint, a.privilege_type,"
        f" a.is_grantable)) FROM aclexplode({acl}) a)"
    )


def _facts(desired: DesiredState) -> str:
    subjects = text_array([*desired.roles, *desired.retired])
    # acldefault has its own letter for sequences.
    letter = "CASE defaclobjtype WHEN 'S' THEN 's' ELSE defaclobjtype END"
    builtin = f'acldefault(({letter})::"char", defaclrole)'
    # Reading what could be installed opens files on the server: only when something is missing.
    wanted = text_array(list(desired.extensions))
    available = f"""
      SELECT json_agg(json_build_object('name', name, 'schema', schema, 'trusted', trusted,
                                        'superuser', superuser))
      FROM (SELECT name, max(schema) AS schema, bool_or(trusted) AS trusted,
                   bool_and(superuser) AS superuser
            FROM pg_available_extension_versions
            WHERE name = ANY ({wanted}) AND EXISTS (
              SELECT FROM unnest({wanted}) w WHERE w NOT IN (SELECT extname FROM pg_extension))
            GROUP BY name) x"""
    return f"""
SELECT json_build_object(
  'version', current_setting('server_version_num')::int,
  'user', (SELECT oid::bigint FROM pg_roles WHERE rolname = current_user),
  'database', (
    SELECT json_build_object('name', datname, 'owner', datdba::bigint,
      'create', has_database_privilege(oid, 'CREATE'),
      'acl', {_explode("coalesce(datacl, acldefault('d', datdba))")})
    FROM pg_database WHERE datname = current_database()),
  'roles', (
    SELECT json_agg(json_build_object('oid', oid::bigint, 'name', rolname, 'superuser', rolsuper,
      'inherit', rolinherit, 'createrole', rolcreaterole, 'createdb', rolcreatedb,
      'login', rolcanlogin, 'replication', rolreplication, 'bypassrls', rolbypassrls,
      'connection_limit', rolconnlimit, 'admin', pg_has_role(oid, 'USAGE WITH ADMIN OPTION')))
    FROM pg_roles),
  'memberships', (
    SELECT json_agg(to_jsonb(m) || jsonb_build_object('roleid', m.roleid::bigint,
      'member', m.member::bigint, 'grantor', m.grantor::bigint))
    FROM pg_auth_members m),
  'settings', (
    SELECT json_agg(json_build_object('role', setrole::bigint, 'database', setdatabase::bigint,
                                      'values', setconfig))
    FROM pg_db_role_setting s JOIN pg_roles r ON r.oid = s.setrole
    WHERE r.rolname = ANY ({subjects})
      AND setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))),
  'schemas', (
    SELECT json_agg(json_build_object('oid', n.oid::bigint, 'name', nspname,
      'owner', nspowner::bigint,
      'acl', {_explode("coalesce(nspacl, acldefault('n', nspowner))")}))
    FROM pg_namespace n WHERE NOT {_SYSTEM}),
  'defaults', (
    SELECT json_agg(json_build_object('role', defaclrole::bigint,
      'schema', defaclnamespace::bigint, 'kind', defaclobjtype,
      'acl', {_explode("defaclacl")},
      'builtin', {_explode(builtin)}))
    FROM pg_default_acl),
  'extensions', (SELECT json_agg(extname) FROM pg_extension),
  'available', ({available}))"""


def _objects(subjects: str, retired: str, schemas: str, owner: str) -> str:
    def mentions(acl: str) -> str:
        return f"EXISTS (SELECT FROM aclexplode({acl}) a JOIN subjects s ON s.oid = a.grantee OR s.oid = a.grantor)"

    def in_scope(acl: str) -> str:
        # Of the server's own objects, only what somebody granted to a managed role.
        return f"NOT {_TEMPORARY} AND (NOT {_SYSTEM} OR {acl} IS NOT NULL AND {mentions(acl)})"

    def of_extension(catalog: str, oid: str) -> str:
        return f"{oid} IN (SELECT objid FROM pg_depend WHERE classid = '{catalog}'::regclass AND deptype = 'e')"

    def global_objects(kind: str, catalog: str, name: str, acl: str, owner_column: str) -> str:
        return f"""
  SELECT '{kind}', '', '', {owner_column}, {acl}, 'x', false, false, false, {name}
  FROM {catalog} WHERE {acl} IS NOT NULL AND {mentions(acl)}"""

    def without_privileges(catalog: str, prefix: str) -> str:
        return f"""
  SELECT 'other', replace(i.type, 'statistics object', 'statistics'), n.nspname, o.{prefix}owner, NULL::aclitem[], 'x', false, false, false,
         i.identity
  FROM {catalog} o JOIN pg_namespace n ON n.oid = o.{prefix}namespace,
       pg_identify_object('{catalog}'::regclass, o.oid, 0) i
  WHERE n.nspname = ANY ({schemas}) AND NOT {of_extension(catalog, "o.oid")}
    AND o.{prefix}owner IS DISTINCT FROM (SELECT oid FROM pg_roles WHERE rolname = {owner_literal})"""

    owner_literal = literal(owner)
    nowhere = "false, false, false"
    default = """CASE default_acl WHEN 'x' THEN NULL ELSE acldefault(default_acl::"char", owner) END"""
    effective = f"coalesce(acl, {default})"
    others_without_privileges = "\n  UNION ALL".join(
        without_privileges(catalog, prefix)
        for catalog, prefix in (
            ("pg_collation", "coll"),
            ("pg_conversion", "con"),
            ("pg_operator", "opr"),
            ("pg_opclass", "opc"),
            ("pg_opfamily", "opf"),
            ("pg_ts_config", "cfg"),
            ("pg_ts_dict", "dict"),
            ("pg_statistic_ext", "stx"),
        )
    )
    return f"""
WITH subjects AS MATERIALIZED (SELECT oid FROM pg_roles WHERE rolname = ANY ({subjects})),
objects (kind, detail, schema, owner, acl, default_acl, definer, extension, linked, name) AS (
  SELECT CASE c.relkind WHEN 'S' THEN 'sequence' ELSE 'table' END,
    CASE c.relkind WHEN 'S' THEN 'SEQUENCE' WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW'
      WHEN 'f' THEN 'FOREIGN TABLE' ELSE 'TABLE' END,
    n.nspname, c.relowner, c.relacl, CASE c.relkind WHEN 'S' THEN 's' ELSE 'r' END,
    false, {of_extension("pg_class", "c.oid")},
    c.relkind = 'S' AND c.oid IN (
      SELECT objid FROM pg_depend WHERE classid = 'pg_class'::regclass
        AND refclassid = 'pg_class'::regclass AND refobjsubid > 0 AND deptype IN ('a', 'i')),
    format('%I.%I', n.nspname, c.relname)
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND {in_scope("c.relacl")}
  UNION ALL
  SELECT 'column', '', n.nspname, c.relowner, t.attacl, 'x', false,
    {of_extension("pg_class", "c.oid")}, false,
    json_build_array(format('%I', t.attname), format('%I.%I', n.nspname, c.relname))::text
  FROM pg_attribute t JOIN pg_class c ON c.oid = t.attrelid
    JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE t.attacl IS NOT NULL AND NOT t.attisdropped AND {in_scope("t.attacl")}
  UNION ALL
  SELECT 'routine', 'ROUTINE', n.nspname, p.proowner, p.proacl, 'f', p.prosecdef,
    {of_extension("pg_proc", "p.oid")}, false, p.oid::regprocedure::text
  FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE {in_scope("p.proacl")}
  UNION ALL
  SELECT 'type', 'TYPE', n.nspname, t.typowner, t.typacl, 'T', false,
    {of_extension("pg_type", "t.oid")}, false, format('%I.%I', n.nspname, t.typname)
  FROM pg_type t JOIN pg_namespace n ON n.oid = t.typnamespace
    LEFT JOIN pg_class c ON c.oid = t.typrelid
  WHERE (c.oid IS NULL OR c.relkind = 'c') AND t.typtype <> 'm'
    AND t.oid NOT IN (SELECT typarray FROM pg_type WHERE typarray <> 0) AND {in_scope("t.typacl")}
  UNION ALL{others_without_privileges}
  UNION ALL{global_objects("large object", "pg_largeobject_metadata", "oid::text", "lomacl", "lomowner")}
  UNION ALL{global_objects("language", "pg_language", "quote_ident(lanname)", "lanacl", "lanowner")}
  UNION ALL{
        global_objects(
            "foreign data wrapper",
            "pg_foreign_data_wrapper",
            "quote_ident(fdwname)",
            "fdwacl",
            "fdwowner",
        )
    }
  UNION ALL{global_objects("foreign server", "pg_foreign_server", "quote_ident(srvname)", "srvacl", "srvowner")}
  UNION ALL{global_objects("tablespace", "pg_tablespace", "quote_ident(spcname)", "spcacl", "spcowner")}
  UNION ALL{global_objects("parameter", "pg_parameter_acl", "parname", "paracl", "10::oid")}
  UNION ALL
  SELECT 'database', '', '', datdba, datacl, 'd', {nowhere}, quote_ident(datname)
  FROM pg_database WHERE datname <> current_database() AND datacl IS NOT NULL AND EXISTS (
    SELECT FROM aclexplode(datacl) a JOIN pg_roles r ON r.oid = a.grantee
    WHERE r.rolname = ANY ({retired}))
  UNION ALL
  -- The server's list of what depends on a role. Rows of other databases have no name here.
  SELECT CASE WHEN d.deptype = 'o' AND d.dbid IN (0, here.oid) THEN 'owned' ELSE 'reference' END,
    coalesce(i.type, 'object'), coalesce(i.schema, ''), d.refobjid, NULL, 'x', {nowhere},
    coalesce(i.identity, 'in database ' || quote_ident(other.datname), '')
  FROM pg_shdepend d
    JOIN pg_roles r ON r.oid = d.refobjid AND r.rolname = ANY ({retired})
    CROSS JOIN (SELECT oid FROM pg_database WHERE datname = current_database()) here
    LEFT JOIN pg_database other ON other.oid = d.dbid AND d.dbid <> here.oid
    LEFT JOIN LATERAL pg_identify_object(d.classid, d.objid, d.objsubid) i
      ON d.dbid IN (0, here.oid)
  WHERE d.refclassid = 'pg_authid'::regclass AND d.classid <> 'pg_default_acl'::regclass
    AND (d.deptype <> 'a' OR d.dbid NOT IN (0, here.oid))
)
SELECT kind, detail, schema, owner::bigint, definer, extension, linked,
  {_explode(effective)},
  json_agg(name)
FROM objects
GROUP BY kind, detail, schema, owner, definer, extension, linked, acl, default_acl
ORDER BY kind, schema, detail, owner"""
