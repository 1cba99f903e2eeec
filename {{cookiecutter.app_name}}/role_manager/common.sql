-- What both queries know: the document of catalog.py, the schemas, which functions run as their owner, wanted privileges.
WITH
input AS MATERIALIZED (SELECT :desired::jsonb AS d, current_setting('server_version_num')::int AS version),
schemas AS MATERIALIZED (
  SELECT n.*, input.d->'schemas' ? n.nspname AS managed, n.nspname ~ '^pg_(temp_|toast)' AS temporary,
    n.nspname ~ '^pg_' OR n.nspname = 'information_schema' AS system
  FROM pg_namespace n, input),
wanted AS MATERIALIZED (
  SELECT w->>0 AS kind, w->>1 AS grantee, w->>2 AS privilege, (w->>3)::boolean AS definer
  FROM input, jsonb_array_elements(input.d->'wanted') w),
-- An aggregate calls its functions in its owner's name, whoever calls it.
definers AS MATERIALIZED (
  SELECT oid FROM pg_proc WHERE prosecdef UNION SELECT a.aggfnoid FROM pg_aggregate a JOIN pg_proc p ON prosecdef AND p.oid IN
    (aggtransfn, aggfinalfn, aggcombinefn, aggserialfn, aggdeserialfn, aggmtransfn, aggminvtransfn, aggmfinalfn)),
