-- What the current role may do, as the server judges it, by whatever way the role got it: rows (verdict, item). Its one
-- input is the document of catalog.sql. Only functions of the server are called, on objects by number: nothing that
-- somebody else wrote runs, and what is dropped meanwhile is passed over.
:common
self AS MATERIALIZED (
  SELECT r.*, rolname = input.d->>'owner' AS owner FROM pg_roles r, input WHERE rolname = current_user),
mine AS MATERIALIZED (SELECT * FROM wanted WHERE grantee = current_user),
parts AS MATERIALIZED (SELECT classid, objid FROM pg_depend
  WHERE deptype = 'e' OR deptype = 'i' AND classid = 'pg_proc'::regclass),
relations AS MATERIALIZED (
  SELECT c.oid, relkind = 'S' AS sequence, managed, format('%I.%I', nspname, relname) AS name
  FROM pg_class c JOIN schemas n ON n.oid = relnamespace AND NOT system
  WHERE relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND (('pg_class'::regclass, c.oid)) NOT IN (SELECT classid, objid FROM parts)),
-- What the role has, and whether it must: NULL where it may, and where what was asked about was dropped meanwhile.
found (has, must, privilege, what, name) AS (
  SELECT has_table_privilege(r.oid, p) OR p IN ('INSERT', 'UPDATE', 'REFERENCES') AND NOT coalesce(must, false) AND has_any_column_privilege(r.oid, p),
    must, p, 'tables', name
  FROM relations r, self, input,
    unnest('{SELECT,INSERT,UPDATE,DELETE,TRUNCATE,REFERENCES,TRIGGER}'::text[] || CASE WHEN version >= 170000 THEN '{MAINTAIN}'::text[] ELSE '{}' END) p,
    LATERAL (SELECT CASE WHEN managed THEN self.owner OR p IN (SELECT privilege FROM mine WHERE kind = 'table') WHEN p <> 'SELECT' THEN false END AS must) m
  WHERE NOT sequence
  UNION ALL
  SELECT has_sequence_privilege(r.oid, p), CASE WHEN managed THEN self.owner OR p IN (SELECT privilege FROM mine WHERE kind = 'sequence')
    WHEN p <> 'SELECT' THEN false END, p, 'sequences', name
  FROM relations r, self, unnest('{USAGE,SELECT,UPDATE}'::text[]) p WHERE sequence
  UNION ALL
  SELECT has_function_privilege(p.oid, 'EXECUTE'), CASE
      WHEN managed THEN self.owner OR EXISTS (SELECT FROM mine WHERE kind = 'function' AND (mine.definer OR p.oid NOT IN (SELECT oid FROM definers)))
      WHEN p.oid IN (SELECT oid FROM definers) AND o.oid <> self.oid AND NOT o.rolsuper THEN false END,
    'EXECUTE', CASE WHEN managed THEN 'functions' ELSE 'functions of somebody else (SECURITY DEFINER)' END, format('%I.%I', nspname, proname)
  FROM pg_proc p JOIN schemas n ON n.oid = pronamespace AND NOT system JOIN pg_roles o ON o.oid = proowner, self
  WHERE (('pg_proc'::regclass, p.oid)) NOT IN (SELECT classid, objid FROM parts)
  UNION ALL
  SELECT has_schema_privilege(s.oid, p), CASE WHEN managed THEN self.owner OR p = 'USAGE' WHEN p <> 'USAGE' THEN false END, p, 'schemas', nspname
  FROM schemas s, self, unnest('{USAGE,CREATE}'::text[]) p WHERE NOT system
  UNION ALL SELECT false, true, 'USAGE', 'schemas that are missing', s FROM input, jsonb_array_elements_text(d->'schemas') s
  WHERE s NOT IN (SELECT nspname FROM pg_namespace)
  UNION ALL
  SELECT has_database_privilege(b.oid, p), CASE WHEN datname = current_database() THEN p IN (SELECT privilege FROM mine WHERE kind = 'database')
    WHEN p = 'CREATE' THEN false END, p, 'databases', datname
  FROM pg_database b, unnest('{CONNECT,TEMPORARY,CREATE}'::text[]) p
  UNION ALL SELECT pg_has_role(r.oid, 'MEMBER'), CASE WHEN r.rolname <> 'rds_iam' THEN false END, 'act as', 'roles', r.rolname
  FROM pg_roles r, self WHERE r.oid <> self.oid
  UNION ALL SELECT pg_has_role(r.oid, 'MEMBER WITH ADMIN OPTION'), false, 'make members of', 'roles', r.rolname
  FROM pg_roles r, self WHERE r.oid <> self.oid
  UNION ALL SELECT has, false, a, 'attributes', rolname FROM self, LATERAL (VALUES (rolsuper, 'SUPERUSER'), (rolcreaterole, 'CREATEROLE'),
    (rolcreatedb, 'CREATEDB'), (rolreplication, 'REPLICATION'), (rolbypassrls, 'BYPASSRLS')) x (has, a)
  UNION ALL SELECT has_tablespace_privilege(oid, 'CREATE'), false, 'CREATE', 'tablespaces', spcname FROM pg_tablespace
  UNION ALL SELECT has_server_privilege(oid, 'USAGE'), false, 'USAGE', 'foreign servers', srvname FROM pg_foreign_server
  UNION ALL SELECT has_foreign_data_wrapper_privilege(oid, 'USAGE'), false, 'USAGE', 'foreign data wrappers', fdwname FROM pg_foreign_data_wrapper
  UNION ALL SELECT has_parameter_privilege(parname, p), false, p, 'parameters', parname FROM pg_parameter_acl, unnest('{SET,ALTER SYSTEM}'::text[]) p)
SELECT CASE WHEN has THEN 'has' ELSE 'lacks' END, jsonb_build_object('privilege', privilege, 'what', what, 'count', count(*),
  'names', (array_agg(name ORDER BY name))[1:5])
FROM found WHERE has <> must GROUP BY has, privilege, what
UNION ALL
SELECT 'session', jsonb_build_object('user', session_user = current_user, 'read_only', current_setting('transaction_read_only') = 'on',
  'statement_timeout', (SELECT setting::bigint FROM pg_settings WHERE name = 'statement_timeout'),
  'search_path', (SELECT string_agg(quote_ident(s), ', ' ORDER BY o) FROM jsonb_array_elements_text(input.d->'schemas') WITH ORDINALITY x (s, o)),
  'settings', (SELECT jsonb_object_agg(name, setting) FROM pg_settings
    WHERE source IN ('global', 'database', 'user', 'database user') AND input.d->'session_settings' ? name),
  'relations', (SELECT count(*) FROM relations WHERE managed))
FROM input
