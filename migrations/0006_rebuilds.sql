-- Rebuilds beside what is read, and tenants whose retelling stopped. A process that folds may not make or drop tables:
-- it asks these functions, which know table sets only from felix.table_sets, and that is written by `felix migrate`.
create schema rebuild authorization felix_owner;
grant usage on schema rebuild to felix_projector;
set local role felix_owner;

alter default privileges in schema rebuild grant select on tables to felix_reader, felix_founder;
alter default privileges in schema rebuild grant select, insert, update, delete, truncate on tables to felix_projector;

alter table felix.cursors add column generation int not null default 0;
comment on column felix.cursors.generation is 'Goes up when the tables are switched: whoever remembers the ones before is fenced.';

create table felix.table_sets (
  projection text not null,
  version int not null,
  tables text[] not null,
  ddl text not null,
  constraint table_sets_pkey primary key (projection, version)
);
comment on table felix.table_sets is 'The tables of every version of a projection, as its code declares them.';

-- The cursors of table sets that are being filled: their names and shape are those of felix.cursors.
create table felix.rebuild_cursors (like felix.cursors including all) with (fillfactor = 50);

create table felix.poisoned (
  partition int not null,
  projection text not null,
  tenant_id uuid not null,
  position bigint not null check (position > 0),
  event_id uuid,
  type text not null,
  error text not null,
  message text not null,
  failures int not null default 1 check (failures > 0),
  first_at timestamptz not null default clock_timestamp(),
  last_at timestamptz not null default clock_timestamp(),
  retry_at timestamptz not null,
  constraint poisoned_pkey primary key (partition, projection, tenant_id)
);
comment on table felix.poisoned is 'Tenants whose events a projection skips from position on, until that one can be folded: nothing is lost, it is in the log.';
create table felix.rebuild_poisoned (like felix.poisoned including all);
select felix.isolate('felix.poisoned'), felix.isolate('felix.rebuild_poisoned');
create policy owner on felix.poisoned to felix_owner using (true) with check (true);
create policy owner on felix.rebuild_poisoned to felix_owner using (true) with check (true);

create table felix.rebuilds (
  projection text primary key,
  version int not null,
  state text not null check (state in ('requested', 'folding', 'comparing', 'switching', 'done', 'refused', 'failed')),
  requested_by text not null,
  request_key text not null,
  accept_difference boolean not null default false,
  requested_at timestamptz not null default clock_timestamp(),
  started_at timestamptz,
  finished_at timestamptz,
  detail text,
  differences jsonb not null default '[]'
);
comment on table felix.rebuilds is 'The last rebuild of each projection: asked for, under way, or how it ended.';

create function felix.drop_table_set(named text) returns void
  language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare each text;
begin
  for each in select distinct unnest(tables) from felix.table_sets where projection = named loop
    execute format('drop table if exists rebuild.%I', each);
  end loop;
  delete from felix.rebuild_cursors where projection = named;
  delete from felix.rebuild_poisoned where projection = named;
end
$$;

create function felix.make_table_set(named text, of_version int) returns void
  language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  declared felix.table_sets;
  each text;
begin
  select * into strict declared from felix.table_sets where projection = named and version = of_version;
  perform felix.drop_table_set(named);
  perform set_config('search_path', 'rebuild, pg_temp', true);
  execute declared.ddl;
  perform set_config('search_path', 'pg_catalog, pg_temp', true);
  foreach each in array declared.tables loop
    perform felix.isolate(format('rebuild.%I', each)::regclass);
  end loop;
  insert into felix.rebuild_cursors (projection, partition, version)
    select named, partition, of_version from felix.partitions;
end
$$;

-- Tables, cursors and stopped tenants change together. What is read is dropped, not emptied: whoever still reads it
-- holds a lock that this waits for, and who comes later finds the new tables under the old names.
create function felix.switch_table_set(named text) returns void
  language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
  of_version int;
  each text;
begin
  select version into strict of_version from felix.rebuild_cursors where projection = named limit 1;
  for each in select distinct unnest(tables) from felix.table_sets where projection = named loop
    execute format('drop table if exists read.%I', each);
  end loop;
  for each in select unnest(tables) from felix.table_sets where projection = named and version = of_version loop
    execute format('alter table rebuild.%I set schema read', each);
  end loop;
  insert into felix.cursors as c (projection, partition, position, version)
    select projection, partition, position, version from felix.rebuild_cursors where projection = named
    on conflict on constraint cursors_pkey do update set position = excluded.position, version = excluded.version,
      generation = c.generation + 1, updated_at = clock_timestamp();
  delete from felix.poisoned where projection = named;
  insert into felix.poisoned select * from felix.rebuild_poisoned where projection = named;
  perform felix.drop_table_set(named);
end
$$;

revoke all on function felix.drop_table_set(text), felix.make_table_set(text, int), felix.switch_table_set(text)
  from public;
grant execute on function felix.drop_table_set(text), felix.make_table_set(text, int), felix.switch_table_set(text)
  to felix_projector;
grant select on felix.table_sets, felix.rebuild_cursors, felix.rebuilds to felix_projector, felix_founder;
grant insert, update on felix.rebuild_cursors to felix_projector;
grant select, insert, update, delete on felix.poisoned, felix.rebuild_poisoned to felix_projector;
grant select on felix.poisoned, felix.rebuild_poisoned to felix_founder, felix_reader;
-- Asking for a rebuild, or for another try, is all that the API's process does.
grant select, insert, update on felix.rebuilds to felix_projector, felix_writer;
grant select, update (retry_at) on felix.poisoned to felix_writer;
