-- What stands for a value of a record with its place: records of all apps are found by it through one index
-- (src/felix/projections/records.py). Whoever writes keys and whoever looks for one must mean the same, for ever.
set local role felix_owner;

create function felix.record_key(app text, environment text, entity text, field text, value jsonb) returns bigint
  language sql immutable parallel safe set search_path = pg_catalog, pg_temp
  return hashtextextended(
    app || e'\x1f' || environment || e'\x1f' || entity || e'\x1f' || field || e'\x1f' || value::text, 0);
revoke all on function felix.record_key(text, text, text, text, jsonb) from public;
grant execute on function felix.record_key(text, text, text, text, jsonb)
  to felix_reader, felix_founder, felix_projector;
