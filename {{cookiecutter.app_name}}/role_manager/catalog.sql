-- Everything that the plan compares, as rows (section, item). Its one input is a JSON document, see catalog.py.
--
-- Privileges are compared here: what is there (aclexplode) with what is wanted, for each set of objects that are alike;
-- only what differs is returned. Names are what the server quotes. An object that is dropped while this runs has no name
-- any more and is left out.
:common
me AS MATERIALIZED (SELECT r.oid, r.rolname AS name, r.rolsuper, r.rolcreaterole FROM pg_roles r WHERE r.rolname = current_user),
here AS MATERIALIZED (SELECT oid, datname, datdba, datacl FROM pg_database WHERE datname = current_database()),
roles AS MATERIALIZED (
  SELECT r.*, r.rolname AS name, input.d->'roles' ? r.rolname AS managed, input.d->'retired' ? r.rolname AS retired,
    input.d->'roles' ? r.rolname OR input.d->'retired' ? r.rolname AS subject,
    NOT r.rolsuper AND r.rolname !~ (input.d->>'reserved') AS judged,
    -- Whose privileges are mine, or can be by a grant to myself. Before 16 CREATEROLE is enough for that.
    me.rolsuper OR r.oid = me.oid OR NOT r.rolsuper AND r.rolname <> 'pg_database_owner' AND (
      input.version < 160000 AND me.rolcreaterole OR pg_has_role(r.oid, 'USAGE WITH ADMIN OPTION')
      OR EXISTS (SELECT FROM pg_auth_members m WHERE m.roleid = r.oid AND m.member = me.oid
        AND coalesce((to_jsonb(m)->>'inherit_option')::boolean AND (to_jsonb(m)->>'set_option')::boolean, true))) AS usable
  FROM pg_roles r, input, me),
names AS MATERIALIZED (SELECT oid, name FROM roles UNION ALL SELECT 0, ''),
-- What an object brings with it follows it, and what an extension brings is the extension's.
parts AS MATERIALIZED (
  SELECT classid, objid, bool_or(deptype = 'e') AS extension FROM pg_depend
  WHERE objsubid = 0 AND deptype IN ('e', 'i') OR deptype = 'a' AND classid = 'pg_class'::regclass AND refobjsubid > 0 GROUP BY 1, 2),
columns AS MATERIALIZED (  -- sequences of columns are their table's
  SELECT objid AS sequence, refobjid AS relation FROM pg_depend WHERE classid = 'pg_class'::regclass AND refclassid = 'pg_class'::regclass
    AND refobjsubid > 0 AND deptype IN ('a', 'i')),

-- Who owns what -------------------------------------------------------------------------------------------------------
contents AS MATERIALIZED (
  SELECT x.* FROM (
    SELECT 'pg_class'::regclass::oid AS classid, oid, relnamespace AS schema, relowner AS owner FROM pg_class
      WHERE relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
    UNION ALL SELECT 'pg_proc'::regclass, oid, pronamespace, proowner FROM pg_proc
    UNION ALL SELECT 'pg_type'::regclass, t.oid, typnamespace, typowner FROM pg_type t LEFT JOIN pg_class c ON c.oid = typrelid
      WHERE coalesce(c.relkind = 'c', true)
    UNION ALL SELECT 'pg_operator'::regclass, oid, oprnamespace, oprowner FROM pg_operator
    UNION ALL SELECT 'pg_opclass'::regclass, oid, opcnamespace, opcowner FROM pg_opclass
    UNION ALL SELECT 'pg_opfamily'::regclass, oid, opfnamespace, opfowner FROM pg_opfamily
    UNION ALL SELECT 'pg_collation'::regclass, oid, collnamespace, collowner FROM pg_collation
    UNION ALL SELECT 'pg_conversion'::regclass, oid, connamespace, conowner FROM pg_conversion
    UNION ALL SELECT 'pg_ts_config'::regclass, oid, cfgnamespace, cfgowner FROM pg_ts_config
    UNION ALL SELECT 'pg_ts_dict'::regclass, oid, dictnamespace, dictowner FROM pg_ts_dict
    UNION ALL SELECT 'pg_statistic_ext'::regclass, oid, stxnamespace, stxowner FROM pg_statistic_ext) x
  JOIN schemas s ON s.oid = x.schema AND s.managed
  UNION ALL SELECT 'pg_namespace'::regclass, oid, oid, nspowner FROM schemas WHERE managed),
strangers AS (
  SELECT c.classid, c.oid, c.owner, c.schema, true AS inside FROM contents c LEFT JOIN roles r ON r.oid = c.owner, input
  WHERE r.name IS DISTINCT FROM input.d->>'owner'
  UNION ALL
  SELECT d.classid, d.objid, d.refobjid, NULL, false FROM pg_shdepend d JOIN roles r ON r.oid = d.refobjid AND r.subject, here
  WHERE d.refclassid = 'pg_authid'::regclass AND d.deptype = 'o' AND d.dbid IN (0, here.oid)
    AND d.classid <> 'pg_default_acl'::regclass AND (r.retired OR d.classid <> 'pg_user_mapping'::regclass)
    AND (d.classid <> 'pg_database'::regclass OR d.objid <> here.oid)
    AND (d.classid, d.objid) NOT IN (SELECT classid, oid FROM contents)),
owned AS MATERIALIZED (
  SELECT s.classid, s.oid, s.owner, r.name AS owner_name, s.inside, i.type,
    CASE WHEN s.classid = 'pg_proc'::regclass THEN s.oid::regprocedure::text ELSE i.identity END AS identity, r.retired, r.usable,
    coalesce(n.nspname, i.schema, '') AS schema,
    s.inside AND (s.owner = me.oid OR r.retired AND s.owner = n.nspowner
      -- Nothing runs as the owner of a schema.
      OR r.subject AND s.classid = 'pg_namespace'::regclass) OR EXISTS (
      SELECT FROM jsonb_array_elements(input.d->'adopt') a
      WHERE a->>0 = 'role' AND s.inside AND a->>1 IN (r.name, quote_ident(r.name))
        OR (a->>0 = i.type OR a->>0 IN ('function', 'procedure', 'aggregate', 'routine') AND s.classid = 'pg_proc'::regclass
          OR a->>0 = 'domain' AND i.type = 'type')
        AND a->>1 IN (i.identity, s.oid::regprocedure::text)) AS taken
  FROM strangers s LEFT JOIN parts p ON p.classid = s.classid AND p.objid = s.oid JOIN roles r ON r.oid = s.owner
    LEFT JOIN schemas n ON n.oid = s.schema, input, me, pg_identify_object(s.classid, s.oid, 0) i
  -- What a stranger owns is no extension's: who owns one may put anything into it.
  WHERE (p.objid IS NULL OR p.extension AND s.inside AND r.judged AND r.oid <> me.oid) AND i.identity IS NOT NULL AND (r.retired OR i.schema IS NULL OR i.schema !~ '^pg_(temp|toast)')),

code (classid, oid, words) AS (  -- what runs as the owner of a function, relation or domain
  SELECT 'pg_proc'::regclass, oid, CASE WHEN prosecdef THEN 'its body, for whoever calls it (SECURITY DEFINER)' ELSE 'its body' END FROM pg_proc
  UNION ALL SELECT 'pg_class'::regclass, ev_class, CASE rulename WHEN '_RETURN' THEN 'its query' ELSE 'its rules' END FROM pg_rewrite
  UNION ALL SELECT 'pg_class'::regclass, tgrelid, 'its triggers' FROM pg_trigger WHERE NOT tgisinternal
  UNION ALL SELECT 'pg_class'::regclass, adrelid, 'its defaults and generated columns' FROM pg_attrdef
  UNION ALL SELECT 'pg_class'::regclass, indrelid, 'the expressions of its indexes' FROM pg_index WHERE indexprs IS NOT NULL OR indpred IS NOT NULL
  UNION ALL SELECT 'pg_class'::regclass, polrelid, 'its policies' FROM pg_policy
  UNION ALL SELECT 'pg_class'::regclass, conrelid, 'its checks' FROM pg_constraint WHERE contype = 'c'
  UNION ALL SELECT 'pg_type'::regclass, contypid, 'its checks' FROM pg_constraint WHERE contype = 'c'),

-- Whose code the owner's objects run: of whoever is neither the owner, the master nor the platform; and what uses it.
theirs (classid, oid, owner, runs) AS MATERIALIZED (
  WITH RECURSIVE strange AS MATERIALIZED (SELECT r.oid FROM roles r, me, input WHERE judged AND r.oid <> me.oid AND r.name <> d->>'owner'),
  checked (oid, owner) AS (  -- domains with checks, and the types that hold one
    SELECT oid, typowner FROM pg_type WHERE typowner IN (SELECT oid FROM strange) AND oid IN (SELECT contypid FROM pg_constraint)
    UNION SELECT t.oid, c.owner FROM checked c, pg_type t LEFT JOIN pg_attribute a ON a.attrelid = t.typrelid
    WHERE c.oid IN (t.typelem, t.typbasetype, a.atttypid))
  SELECT 'pg_type'::regclass::oid, oid, owner, true FROM checked
  UNION ALL SELECT 'pg_proc'::regclass, oid, proowner, true FROM pg_proc WHERE proowner IN (SELECT oid FROM strange)
  UNION ALL SELECT 'pg_operator'::regclass, oid, oprowner, true FROM pg_operator WHERE oprowner IN (SELECT oid FROM strange)
  UNION ALL SELECT 'pg_class'::regclass, oid, relowner, relkind = 'v' OR oid IN (SELECT polrelid FROM pg_policy)
  FROM pg_class WHERE relowner IN (SELECT oid FROM strange) AND relkind NOT IN ('i', 'I')),
uses (classid, objid, objsubid, refclassid, refobjid, how) AS (
  SELECT classid, objid, objsubid, refclassid, refobjid, '' FROM pg_depend
  -- (What a foreign key asks of the table that it names runs nothing.)
  WHERE deptype = 'n' AND (classid <> 'pg_constraint'::regclass OR refclassid <> 'pg_class'::regclass)
  -- A change of one table is a change of the other.
  UNION ALL SELECT 'pg_class'::regclass, confrelid, 0, 'pg_class'::regclass, conrelid, ' (by its foreign key)'
  FROM pg_constraint WHERE contype = 'f' AND conparentid = 0 AND (confdeltype IN ('c', 'n', 'd') OR confupdtype IN ('c', 'n', 'd'))
  UNION ALL SELECT 'pg_class'::regclass, oid, 0, 'pg_class'::regclass, other, ' (by inheritance)'
  FROM pg_inherits, LATERAL (VALUES (inhparent, inhrelid), (inhrelid, inhparent)) x (oid, other)),

-- Privileges ----------------------------------------------------------------------------------------------------------
acls (kind, letter, classid, oid, schema, place, owner, acl, definer, name) AS (
  SELECT CASE relkind WHEN 'S' THEN 'sequence' ELSE 'table' END, CASE relkind WHEN 'S' THEN 's' ELSE 'r' END,
    'pg_class'::regclass::oid, c.oid, n.oid, NULL, relowner, relacl, false, format('%I.%I', nspname, relname)
  FROM pg_class c JOIN schemas n ON n.oid = relnamespace
  WHERE relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND NOT temporary AND (NOT system OR relacl IS NOT NULL)
  UNION ALL
  SELECT format('column:%I', attname), 'c', 'pg_class'::regclass, c.oid, n.oid, NULL, relowner, attacl, false, format('%I.%I', nspname, relname)
  FROM pg_attribute a JOIN pg_class c ON c.oid = attrelid JOIN schemas n ON n.oid = relnamespace
  WHERE attacl IS NOT NULL AND NOT attisdropped AND NOT temporary
  UNION ALL
  SELECT CASE prokind WHEN 'p' THEN 'procedure' ELSE 'function' END, 'f', 'pg_proc'::regclass, p.oid, n.oid, NULL, proowner, proacl, p.oid IN (SELECT oid FROM definers), p.oid::regprocedure::text
  FROM pg_proc p JOIN schemas n ON n.oid = pronamespace LEFT JOIN parts ON classid = 'pg_proc'::regclass AND objid = p.oid
  WHERE NOT temporary AND (NOT system OR proacl IS NOT NULL) AND coalesce(extension, true)
  UNION ALL
  SELECT 'type', 'T', CASE WHEN c.relkind <> 'c' THEN 'pg_class'::regclass ELSE 'pg_type'::regclass END,
    CASE WHEN c.relkind <> 'c' THEN c.oid ELSE t.oid END, n.oid, NULL, typowner, typacl, false, format('%I.%I', nspname, typname)
  FROM pg_type t JOIN schemas n ON n.oid = typnamespace LEFT JOIN pg_class c ON c.oid = typrelid
  WHERE NOT temporary AND typtype <> 'm' AND t.oid NOT IN (SELECT typarray FROM pg_type WHERE typarray <> 0)
    AND (typacl IS NOT NULL OR NOT system AND coalesce(relkind = 'c', true))
  UNION ALL
  SELECT 'schema', 'n', 'pg_namespace'::regclass, oid, oid, NULL, nspowner, nspacl, false, format('%I', nspname)
  FROM schemas WHERE NOT temporary
  UNION ALL SELECT 'database', 'd', 'pg_database'::regclass, d.oid, 0,
    CASE WHEN d.oid = here.oid THEN 'inside' ELSE 'outside' END, d.datdba, d.datacl, false, format('%I', d.datname)
  FROM pg_database d, here WHERE d.oid = here.oid OR d.datacl IS NOT NULL
  -- What is in no schema.
  UNION ALL SELECT kind, letter, classid, oid, 0, place, owner, acl, false, name FROM (
    SELECT 'large object', 'L', 'pg_largeobject'::regclass::oid, oid, 'platform', lomowner, lomacl, oid::text FROM pg_largeobject_metadata
    UNION ALL SELECT 'language', 'l', 'pg_language'::regclass, oid, 'platform', lanowner, lanacl, format('%I', lanname) FROM pg_language
    UNION ALL SELECT 'foreign data wrapper', 'F', 'pg_foreign_data_wrapper'::regclass, oid, 'outside', fdwowner, fdwacl, format('%I', fdwname)
    FROM pg_foreign_data_wrapper
    UNION ALL SELECT 'foreign server', 'S', 'pg_foreign_server'::regclass, oid, 'outside', srvowner, srvacl, format('%I', srvname) FROM pg_foreign_server
    UNION ALL SELECT 'tablespace', 't', 'pg_tablespace'::regclass, oid, 'outside', spcowner, spcacl, format('%I', spcname) FROM pg_tablespace
    UNION ALL SELECT 'parameter', 'p', 'pg_parameter_acl'::regclass, oid, 'outside', 10, paracl, parname FROM pg_parameter_acl
  ) x (kind, letter, classid, oid, place, owner, acl, name) WHERE acl IS NOT NULL),
alike AS MATERIALIZED (
  SELECT row_number() OVER () AS id, kind, letter, place, definer, acl, old_owner, owner, names FROM (
    SELECT kind, letter, definer, acl, a.owner AS old_owner, array_agg(a.name) AS names,
      coalesce(a.place, CASE WHEN p.extension OR n.system THEN 'platform' WHEN n.managed THEN 'inside' ELSE 'outside' END) AS place,
      CASE WHEN NOT o.taken IS TRUE THEN CASE WHEN kind = 'database' AND a.place = 'inside' AND r.subject THEN me.name ELSE r.name END
        WHEN o.inside THEN input.d->>'owner' ELSE me.name END AS owner
    FROM acls a LEFT JOIN columns l ON l.sequence = a.oid AND a.kind = 'sequence'
      LEFT JOIN owned o ON o.classid = a.classid AND o.oid = coalesce(l.relation, a.oid)
      LEFT JOIN parts p ON p.classid = a.classid AND p.objid = a.oid AND p.extension
      LEFT JOIN schemas n ON n.oid = a.schema JOIN roles r ON r.oid = a.owner, input, me
    -- What is not taken is left alone, but for who may make something in a managed role's schema. What was dropped meanwhile has a number for its name.
    WHERE (o.taken IS NOT FALSE OR kind = 'schema' AND r.subject) AND (letter <> 'f' OR a.name !~ '^[0-9]+$')
    GROUP BY kind, letter, definer, acl, a.owner, 7, 8) x),
entries AS MATERIALIZED (
  SELECT DISTINCT a.id, CASE WHEN e.grantee = a.old_owner THEN a.owner ELSE t.name END AS grantee,
    CASE WHEN e.grantor = a.old_owner THEN a.owner ELSE f.name END AS grantor, e.privilege_type AS privilege, e.is_grantable AS grantable
  FROM alike a, aclexplode(coalesce(a.acl, acldefault(a.letter::"char", a.old_owner))) e
    JOIN names t ON t.oid = e.grantee JOIN names f ON f.oid = e.grantor),
required AS MATERIALIZED (
  SELECT a.id, w.grantee, w.privilege FROM alike a JOIN wanted w ON w.kind = a.kind AND (w.definer OR NOT a.definer) WHERE a.place = 'inside'
  UNION
  SELECT a.id, a.owner, e.privilege_type FROM alike a, aclexplode(acldefault(a.letter::"char", a.old_owner)) e
  WHERE a.place = 'inside' AND a.kind <> 'database' AND e.grantee = a.old_owner),
judged AS MATERIALIZED (
  SELECT e.*, e.grantee <> a.owner AND NOT coalesce(CASE WHEN a.place = 'inside' THEN
      w.id IS NOT NULL AND e.grantor = a.owner AND NOT e.grantable OR a.kind = 'type' AND e.grantee = '' AND e.privilege = 'USAGE'
      OR e.grantee <> '' AND NOT r.judged AND NOT r.subject OR a.kind = 'database' AND e.grantee = me.name
    WHEN e.grantee = '' THEN a.place = 'platform' OR coalesce(input.d->'public'->split_part(a.kind, ':', 1) ? e.privilege, false)
      AND (NOT a.definer OR o.rolsuper AND o.oid <> me.oid AND e.grantor = a.owner)
    ELSE NOT r.subject END, true) AS excess
  FROM entries e JOIN alike a ON a.id = e.id LEFT JOIN required w ON w.id = e.id AND w.grantee = e.grantee AND w.privilege = e.privilege
    LEFT JOIN roles r ON r.name = e.grantee LEFT JOIN roles o ON o.name = a.owner, input, me),
missing AS (
  SELECT w.* FROM required w JOIN alike a ON a.id = w.id WHERE NOT EXISTS (
    SELECT FROM judged e WHERE e.id = w.id AND e.grantee = w.grantee AND e.privilege = w.privilege AND NOT e.excess)),
different AS (SELECT id FROM judged WHERE excess UNION SELECT id FROM missing),

-- Privileges of what does not exist yet -------------------------------------------------------------------------------
default_keys (role, schema, letter) AS (
  SELECT r.name, coalesce(n.nspname, ''), d.defaclobjtype::text FROM pg_default_acl d JOIN roles r ON r.oid = d.defaclrole
    LEFT JOIN schemas n ON n.oid = d.defaclnamespace WHERE n.system IS NOT TRUE
  UNION SELECT d->>'owner', '', 'f' FROM input
  UNION SELECT d->>'owner', s, l FROM input, jsonb_array_elements_text(d->'schemas') s, unnest('{r,S,f}'::text[]) l),
defaults AS MATERIALIZED (
  SELECT k.role, k.schema, k.letter, input.d->'letters'->>k.letter AS kind, r.managed, r.retired, r.judged,
    k.role = input.d->>'owner' AS owner, input.d->'schemas' ? k.schema AS inside, d.defaclacl AS acl, CASE WHEN k.schema = '' THEN
      acldefault((CASE k.letter WHEN 'S' THEN 's' ELSE k.letter END)::"char", coalesce(r.oid, me.oid)) END AS builtin, coalesce(r.oid, me.oid) AS oid
  FROM default_keys k LEFT JOIN roles r ON r.name = k.role LEFT JOIN schemas n ON n.nspname = k.schema
    LEFT JOIN pg_default_acl d ON d.defaclrole = r.oid AND d.defaclnamespace = coalesce(n.oid, 0) AND d.defaclobjtype = k.letter::"char", input, me),
default_entries AS (
  SELECT d.*, CASE WHEN e.grantee = d.oid THEN d.role ELSE n.name END AS grantee, e.privilege_type AS privilege, e.is_grantable AS grantable,
    EXISTS (SELECT FROM aclexplode(d.builtin) b WHERE b.grantee = e.grantee AND b.privilege_type = e.privilege_type) AS by_builtin
  FROM defaults d, aclexplode(coalesce(d.acl, d.builtin)) e JOIN names n ON n.oid = e.grantee),
default_excess AS (
  SELECT e.role, e.schema, e.letter, e.grantee, e.privilege FROM default_entries e LEFT JOIN roles r ON r.name = e.grantee
    LEFT JOIN wanted w ON w.kind = e.kind AND w.grantee = e.grantee AND w.privilege = e.privilege
  WHERE NOT (e.grantee = e.role AND (e.schema = '' OR NOT coalesce(e.retired, false))) AND CASE
    WHEN e.retired THEN NOT e.by_builtin OR e.grantable
    WHEN NOT (coalesce(r.judged, true) OR r.subject) OR e.judged IS FALSE AND e.managed IS FALSE THEN false
    WHEN e.owner AND e.inside THEN w.kind IS NULL OR e.grantable
    WHEN e.owner AND e.letter = 'f' THEN true
    WHEN e.managed OR e.owner OR e.inside THEN NOT e.by_builtin OR e.grantable
    ELSE r.subject END),
default_required AS (
  SELECT d.role, d.schema, d.letter, w.grantee, w.privilege FROM defaults d JOIN wanted w ON w.kind = d.kind WHERE d.owner AND d.inside
  UNION
  SELECT d.role, d.schema, d.letter, CASE WHEN b.grantee = 0 THEN '' ELSE d.role END, b.privilege_type FROM defaults d, aclexplode(d.builtin) b
  WHERE d.owner AND b.grantee <> 0 OR d.retired),
default_missing AS (
  SELECT q.* FROM default_required q WHERE NOT EXISTS (
    SELECT FROM default_entries e WHERE (e.role, e.schema, e.letter, e.grantee, e.privilege) = (q.role, q.schema, q.letter, q.grantee, q.privilege)
      AND (e.grantee = e.role OR NOT e.grantable)))

SELECT 'server', jsonb_build_object('version', input.version, 'user', me.name, 'database', here.datname,
    'database_owner', owner.name, 'schemas', (SELECT coalesce(jsonb_agg(nspname), '[]') FROM schemas WHERE managed), 'may_create_schema', has_database_privilege(here.oid, 'CREATE'),
    -- On RDS its members may grant roles without ADMIN OPTION: the catalog does not tell which.
    'rds_superuser', EXISTS (SELECT FROM pg_auth_members m JOIN roles r ON r.oid = m.roleid WHERE m.member = me.oid AND r.name = 'rds_superuser'),
    'search_path', (SELECT string_agg(quote_ident(s), ', ' ORDER BY o) FROM jsonb_array_elements_text(input.d->'schemas') WITH ORDINALITY x (s, o)),
    'locks', current_setting('max_locks_per_transaction')::int
      * (current_setting('max_connections')::int + current_setting('max_prepared_transactions')::int))
FROM me, here JOIN roles owner ON owner.oid = here.datdba, input
UNION ALL
SELECT 'role', jsonb_build_object('name', name, 'connection_limit', rolconnlimit, 'admin', pg_has_role(oid, 'USAGE WITH ADMIN OPTION'),
    'usable', usable, 'attributes', array_remove(ARRAY[CASE WHEN rolsuper THEN 'SUPERUSER' END, CASE WHEN rolinherit THEN 'INHERIT' END,
      CASE WHEN rolcreaterole THEN 'CREATEROLE' END, CASE WHEN rolcreatedb THEN 'CREATEDB' END, CASE WHEN rolcanlogin THEN 'LOGIN' END,
      CASE WHEN rolreplication THEN 'REPLICATION' END, CASE WHEN rolbypassrls THEN 'BYPASSRLS' END], NULL))
FROM roles
UNION ALL
SELECT 'membership', jsonb_build_object('role', r.name, 'member', m.name, 'grantor', g.name, 'admin', a.admin_option,
    'inherit', coalesce((to_jsonb(a)->>'inherit_option')::boolean, true), 'set', coalesce((to_jsonb(a)->>'set_option')::boolean, true))
FROM pg_auth_members a JOIN roles r ON r.oid = a.roleid JOIN roles m ON m.oid = a.member JOIN roles g ON g.oid = a.grantor
WHERE r.subject OR m.subject OR g.retired OR r.name = 'rds_iam' OR m.name = current_user
UNION ALL
SELECT 'setting', jsonb_build_object('role', coalesce(r.name, ''), 'database', coalesce(d.datname, ''), 'name', split_part(c, '=', 1),
    'value', substr(c, strpos(c, '=') + 1), 'mine', me.rolsuper OR has_parameter_privilege(split_part(c, '=', 1), 'SET')
      OR NOT EXISTS (SELECT FROM pg_settings p WHERE p.name = split_part(c, '=', 1) AND p.context <> 'user'))
FROM pg_db_role_setting s LEFT JOIN roles r ON r.oid = s.setrole LEFT JOIN here d ON d.oid = s.setdatabase, unnest(setconfig) c, input, me
-- Those with a dot are of extensions, or nobody's. What nobody can reset holds for one transaction, and changes no session.
WHERE (s.setdatabase = 0 OR d.oid IS NOT NULL) AND 'NO_RESET' <> ALL (coalesce(pg_settings_get_flags(split_part(c, '=', 1)), '{}')) AND (r.managed AND split_part(c, '=', 1) NOT LIKE '%.%' OR s.setrole = 0 AND input.d->'session_settings' ? split_part(c, '=', 1))
UNION ALL
SELECT 'owned', jsonb_build_object('type', type, 'name', identity, 'schema', schema, 'owner', owner_name, 'inside', inside, 'taken', taken,
    'bulk', classid = 'pg_class'::regclass, 'runs', (SELECT coalesce(jsonb_agg(DISTINCT c.words), '[]') 
    FROM code c WHERE c.classid = o.classid AND c.oid = o.oid AND NOT taken))
FROM owned o
UNION ALL
-- The server's own list of what is anybody's, for other databases; and what keeps a retired role.
SELECT 'elsewhere', jsonb_build_object('role', r.name, 'database', coalesce(b.datname, ''), 'mentions', CASE WHEN b.datname IS NULL
    THEN coalesce((array_agg(format('is mentioned by %s %s', i.type, i.identity)) FILTER (WHERE i.identity IS NOT NULL))[1:20], '{}')
    ELSE array_remove(ARRAY['owns ' || nullif(count(*) FILTER (WHERE d.deptype = 'o'), 0) || ' objects in database ' || b.datname,
      'is mentioned in ' || nullif(count(*) FILTER (WHERE d.deptype <> 'o'), 0) || ' lists of privileges in database ' || b.datname], NULL) END)
FROM pg_shdepend d JOIN roles r ON r.oid = d.refobjid AND r.subject CROSS JOIN here LEFT JOIN pg_database b ON b.oid = d.dbid AND b.oid <> here.oid
  LEFT JOIN LATERAL pg_identify_object(d.classid, d.objid, d.objsubid) i ON b.oid IS NULL
WHERE d.refclassid = 'pg_authid'::regclass AND (b.oid IS NOT NULL OR r.retired AND d.deptype NOT IN ('o', 'a'))
GROUP BY 1, r.name, b.datname
UNION ALL
-- What somebody else can replace runs as whoever uses a table or view of the owner's.
SELECT 'foreign code', jsonb_build_object('object', i.type || ' ' || i.identity, 'code', c.type || ' ' || c.identity || u.how, 'owner', r.name)
FROM uses u JOIN theirs s ON s.classid = u.refclassid AND s.oid = u.refobjid JOIN roles r ON r.oid = s.owner,
  pg_identify_object(u.refclassid, u.refobjid, 0) c, pg_identify_object(u.classid, u.objid, u.objsubid) i,
  pg_identify_object_as_address(u.classid, u.objid, u.objsubid) a
WHERE (s.runs OR u.how <> '') AND (s.classid, s.oid) NOT IN (SELECT classid, oid FROM contents)
  AND EXISTS (SELECT FROM schemas n, unnest(a.object_names[1:1] || CASE u.classid WHEN 'pg_cast'::regclass THEN a.object_args END) w
    WHERE managed AND (w = nspname OR starts_with(w, quote_ident(nspname) || '.')))
UNION ALL
SELECT 'event trigger', jsonb_build_object('name', t.evtname, 'function', p.oid::regprocedure::text, 'owner', r.name)
FROM pg_event_trigger t JOIN pg_proc p ON p.oid = t.evtfoid JOIN roles r ON r.oid = p.proowner, me
WHERE t.evtenabled <> 'D' AND NOT r.rolsuper AND r.oid <> me.oid AND r.judged
UNION ALL
-- Reading what could be installed opens files on the server: only when something is missing.
SELECT 'extension', jsonb_build_object('name', w, 'offered', v.offered, 'schema', v.schema, 'trusted', v.trusted, 'superuser', v.superuser)
FROM input, jsonb_array_elements_text(input.d->'extensions') w, LATERAL (
  SELECT count(*) > 0 AS offered, max(schema) AS schema, bool_or(trusted) AS trusted, bool_and(superuser) AS superuser
  FROM pg_available_extension_versions WHERE name = w) v
WHERE w NOT IN (SELECT extname FROM pg_extension)
UNION ALL
SELECT 'privileges', jsonb_build_object('kind', a.kind, 'owner', a.owner, 'old_owner', o.name, 'names', to_jsonb(a.names),
    'entries', (SELECT coalesce(jsonb_agg(jsonb_build_array(j.grantee, j.grantor, j.privilege, j.grantable, j.excess)), '[]') FROM judged j WHERE j.id = a.id),
    'missing', (SELECT coalesce(jsonb_agg(jsonb_build_array(m.grantee, m.privilege)), '[]') FROM missing m WHERE m.id = a.id))
FROM alike a JOIN different USING (id) JOIN names o ON o.oid = a.old_owner
UNION ALL
SELECT 'default privileges', jsonb_build_object('role', role, 'schema', schema, 'letter', letter,
    'excess', jsonb_agg(jsonb_build_array(grantee, privilege)) FILTER (WHERE excess),
    'missing', jsonb_agg(jsonb_build_array(grantee, privilege)) FILTER (WHERE NOT excess))
FROM (SELECT *, true AS excess FROM default_excess UNION ALL SELECT *, false FROM default_missing) d GROUP BY role, schema, letter
