-- What the current role may do, as the server judges it, by whatever way the role got it: rows (verdict, item). Its one
-- input is the document of catalog.sql. Only functions of the server are called, on objects by number: nothing that
-- somebody else wrote runs, and what is dropped meanwhile is passed over.
WITH
input AS MATERIALIZED (SELECT :desired::jsonb AS d, current_setting('server_version_num')::int AS version),
self AS MATERIALIZED (
  SELECT r.*, rolname = input.d->>'owner' AS owner FROM pg_roles r, input WHERE rolname = current_user),
wanted AS MATERIALIZED (
  SELECT w->>0 AS kind, w->>2 AS privilege, (w->>3)::boolean AS definer
  FROM input, jsonb_array_elements(input.d->'wanted') w WHERE w->>1 = current_user),
schemas AS MATERIALIZED (
  SELECT oid, nspname, input.d->'schemas' ? nspname AS managed FROM pg_namespace, input
  WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'),
parts AS MATERIALIZED (SELECT classid, objid FROM pg_depend
  WHERE deptype = 'e' OR deptype = 'i' AND classid = 'pg_proc'::regclass),
relations AS MATERIALIZED (
  SELECT c.oid, relkind = 'S' AS sequence, managed, format('%I.%I', nspname, relname) AS name
  FROM pg_class c JOIN schemas n ON n.oid = relnamespace
  WHERE relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND (('pg_class'::regclass, c.oid)) NOT IN (SELECT classid, objid FROM parts)),
-- An aggregate calls its functions in its owner's name, whoever calls it.
definers AS MATERIALIZED (
  SELECT oid FROM pg_proc WHERE prosecdef UNION SELECT a.aggfnoid FROM pg_aggregate a JOIN pg_proc p ON prosecdef AND p.oid IN
    (aggtransfn, aggfinalfn, aggcombinefn, aggserialfn, aggdeserialfn, aggmtransfn, aggminvtransfn, aggmfinalfn)),
-- Each finding: what the role may do beyond (or, with `lacks`, what it must and may not do), on what.
found (lacks, privilege, what, name) AS (
  SELECT NOT has, p, 'tables', name FROM relations, self, input,
    unnest('{SELECT,INSERT,UPDATE,DELETE,TRUNCATE,REFERENCES,TRIGGER}'::text[] || CASE WHEN version >= 170000 THEN '{MAINTAIN}'::text[] ELSE '{}' END) p,
    -- NULL: it was dropped meanwhile.
    LATERAL (SELECT has_table_privilege(relations.oid, p) OR CASE
      WHEN p IN ('INSERT', 'UPDATE', 'REFERENCES') AND NOT self.owner AND (NOT managed OR p NOT IN (SELECT privilege FROM wanted WHERE kind = 'table'))
        THEN has_any_column_privilege(relations.oid, p) ELSE false END AS has) x
  WHERE NOT sequence AND has <> CASE WHEN managed THEN self.owner OR p IN (SELECT privilege FROM wanted WHERE kind = 'table') ELSE p = 'SELECT' AND has END
  UNION ALL
  SELECT NOT has, p, 'sequences', name FROM relations, self, unnest('{USAGE,SELECT,UPDATE}'::text[]) p,
    LATERAL (SELECT has_sequence_privilege(relations.oid, p) AS has) x
  WHERE sequence AND has <> CASE WHEN managed THEN self.owner OR p IN (SELECT privilege FROM wanted WHERE kind = 'sequence') ELSE p = 'SELECT' AND has END
  UNION ALL
  SELECT NOT has, 'EXECUTE', CASE WHEN managed THEN 'functions' ELSE 'functions of somebody else (SECURITY DEFINER)' END,
    format('%I.%I', nspname, proname)
  FROM pg_proc p JOIN schemas n ON n.oid = pronamespace JOIN pg_roles o ON o.oid = proowner, self,
    LATERAL (SELECT has_function_privilege(p.oid, 'EXECUTE') AS has) x
  WHERE (('pg_proc'::regclass, p.oid)) NOT IN (SELECT classid, objid FROM parts) AND CASE
    WHEN managed THEN has <> (self.owner OR EXISTS (SELECT FROM wanted WHERE kind = 'function' AND (wanted.definer OR p.oid NOT IN (SELECT oid FROM definers))))
    ELSE has AND p.oid IN (SELECT oid FROM definers) AND o.oid <> self.oid AND NOT o.rolsuper END
  UNION ALL
  SELECT NOT has, p, 'schemas', nspname FROM schemas, self, unnest('{USAGE,CREATE}'::text[]) p,
    LATERAL (SELECT has_schema_privilege(schemas.oid, p) AS has) x
  WHERE has <> CASE WHEN managed THEN self.owner OR p = 'USAGE' ELSE p = 'USAGE' AND has END
  UNION ALL SELECT true, 'USAGE', 'schemas that are missing', s FROM input, jsonb_array_elements_text(d->'schemas') s
  WHERE s NOT IN (SELECT nspname FROM pg_namespace)
  UNION ALL
  SELECT NOT has, p, 'databases', datname FROM pg_database, self, unnest('{CONNECT,TEMPORARY,CREATE}'::text[]) p,
    LATERAL (SELECT has_database_privilege(pg_database.oid, p) AS has) x
  WHERE has <> CASE WHEN datname = current_database() THEN p IN (SELECT privilege FROM wanted WHERE kind = 'database') ELSE p <> 'CREATE' AND has END
  UNION ALL SELECT false, 'act as', 'roles', r.rolname FROM pg_roles r, self
  WHERE pg_has_role(r.oid, 'MEMBER') AND r.oid <> self.oid AND r.rolname <> 'rds_iam'
  UNION ALL SELECT false, 'make members of', 'roles', r.rolname FROM pg_roles r, self
  WHERE r.oid <> self.oid AND pg_has_role(r.oid, 'MEMBER WITH ADMIN OPTION')
  UNION ALL SELECT false, a, 'attributes', rolname FROM self, unnest(ARRAY[
    CASE WHEN rolsuper THEN 'SUPERUSER' END, CASE WHEN rolcreaterole THEN 'CREATEROLE' END, CASE WHEN rolcreatedb THEN 'CREATEDB' END,
    CASE WHEN rolreplication THEN 'REPLICATION' END, CASE WHEN rolbypassrls THEN 'BYPASSRLS' END]) a WHERE a IS NOT NULL
  UNION ALL SELECT false, 'CREATE', 'tablespaces', spcname FROM pg_tablespace WHERE has_tablespace_privilege(oid, 'CREATE')
  UNION ALL SELECT false, 'USAGE', 'foreign servers', srvname FROM pg_foreign_server WHERE has_server_privilege(oid, 'USAGE')
  UNION ALL SELECT false, 'USAGE', 'foreign data wrappers', fdwname FROM pg_foreign_data_wrapper
  WHERE has_foreign_data_wrapper_privilege(oid, 'USAGE')
  UNION ALL SELECT false, p, 'parameters', parname FROM pg_parameter_acl, unnest('{SET,ALTER SYSTEM}'::text[]) p
  WHERE has_parameter_privilege(parname, p))
SELECT CASE WHEN lacks THEN 'lacks' ELSE 'has' END, jsonb_build_object('privilege', privilege, 'what', what, 'count', count(*),
  'names', (array_agg(name ORDER BY name))[1:5])
FROM found WHERE lacks IS NOT NULL GROUP BY lacks, privilege, what
UNION ALL
SELECT 'session', jsonb_build_object('user', session_user = current_user, 'read_only', current_setting('transaction_read_only') = 'on',
  'statement_timeout', (SELECT setting::bigint FROM pg_settings WHERE name = 'statement_timeout'),
  'search_path', (SELECT string_agg(quote_ident(s), ', ' ORDER BY o) FROM jsonb_array_elements_text(input.d->'schemas') WITH ORDINALITY x (s, o)),
  'settings', (SELECT jsonb_object_agg(name, setting) FROM pg_settings
    WHERE source IN ('global', 'database', 'user', 'database user') AND input.d->'session_settings' ? name),
  'relations', (SELECT count(*) FROM relations WHERE managed))
FROM input
