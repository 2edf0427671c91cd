-- The log: partitions, tenants, events, commands, snapshots, cursors.
set local role felix_owner;

create function felix.current_tenant() returns uuid
  language plpgsql stable parallel safe cost 1000 set search_path = pg_catalog, pg_temp as $$
declare bound text := current_setting('felix.tenant', true);
begin
  if bound is null or bound = '' then
    raise exception 'no tenant is bound to this transaction' using errcode = 'FX001';
  end if;
  return bound::uuid;
end
$$;
comment on function felix.current_tenant() is 'The tenant that TenantTx bound; an error, never an empty answer, when there is none.';

create function felix.refuse_change() returns trigger
  language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  raise exception '% on %.% is refused: what is recorded is never changed', tg_op, tg_table_schema, tg_table_name
    using errcode = 'FX403';
end
$$;

-- The head of each partition: its lock and its counter. fillfactor keeps the updates on one page (HOT).
create table felix.partitions (
  partition int primary key check (partition >= 0),
  position bigint not null default 0 check (position >= 0)
) with (fillfactor = 10);

create table felix.tenants (
  tenant_id uuid primary key,
  partition int not null,
  slug text not null,
  name text not null,
  recorded_at timestamptz not null,
  constraint tenants_slug_key unique (slug),
  constraint tenants_slug_check check (slug ~ '^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$')
);

create table felix.events (
  partition int not null,
  position bigint not null check (position > 0),
  tenant_id uuid not null,
  tenant_sequence bigint not null check (tenant_sequence > 0),
  version bigint not null check (version >= 0),
  recorded_at timestamptz not null,
  event_id uuid not null,
  stream text not null,
  type text not null,
  command_key text not null,
  actor text not null check (actor <> ''),
  metadata json not null,
  state bytea not null,
  dedupe_key bytea check (length(dedupe_key) = 16),
  constraint events_pkey primary key (partition, position),
  constraint events_stream_version_key unique (partition, stream, version),
  constraint events_tenant_sequence_key unique (partition, tenant_id, tenant_sequence)
) with (autovacuum_vacuum_insert_scale_factor = 0.5, autovacuum_analyze_scale_factor = 0.2);
alter table felix.events alter column state set storage external;
create unique index events_dedupe_key_idx on felix.events (partition, dedupe_key) where dedupe_key is not null;

comment on table felix.events is 'Immutable facts. position is dense and commit-ordered per partition, tenant_sequence dense per tenant.';
comment on column felix.events.state is 'Canonical JSON (sorted keys, no white space), written once; hashes are taken from these bytes.';
comment on column felix.events.dedupe_key is 'First 16 bytes of BLAKE2b over tenant, CloudEvents source and id: one effect for ever.';

create table felix.commands (
  partition int not null,
  tenant_id uuid not null,
  command_key text not null,
  type text not null,
  actor text not null,
  accepted boolean not null,
  first_position bigint,
  last_position bigint,
  recorded_at timestamptz not null,
  fingerprint bytea not null,
  outcome bytea not null,
  constraint commands_pkey primary key (partition, tenant_id, command_key),
  constraint commands_positions_check check (first_position <= last_position)
) with (autovacuum_vacuum_insert_scale_factor = 0.5);
comment on table felix.commands is 'The outcome of every command under its key, accepted or refused: a retry can never change it.';

create table felix.snapshots (
  partition int not null,
  tenant_id uuid not null,
  stream text not null,
  version bigint not null,
  type text not null,
  created_on timestamptz not null,
  modified_on timestamptz not null,
  state bytea not null,
  constraint snapshots_pkey primary key (partition, stream, version)
);

create table felix.cursors (
  projection text not null,
  partition int not null,
  position bigint not null default 0 check (position >= 0),
  version int not null,
  updated_at timestamptz not null default now(),
  constraint cursors_pkey primary key (partition, projection)
) with (fillfactor = 50);

-- Secrets live in their own table; only the hash of a key is stored, and only the definer function reads it.
create table felix.api_keys (
  key_hash bytea primary key check (length(key_hash) = 32),
  key_id text not null unique,
  role text not null check (role in ('founder', 'client')),
  tenant_id uuid,
  label text not null,
  created_at timestamptz not null default now(),
  revoked_at timestamptz,
  constraint api_keys_tenant_check check ((role = 'client') = (tenant_id is not null))
);

create trigger events_append_only before update or delete on felix.events for each row execute function felix.refuse_change();
create trigger events_no_truncate before truncate on felix.events execute function felix.refuse_change();
create trigger commands_append_only before update or delete on felix.commands for each row execute function felix.refuse_change();
create trigger commands_no_truncate before truncate on felix.commands execute function felix.refuse_change();
alter table felix.events enable always trigger events_append_only;
alter table felix.events enable always trigger events_no_truncate;
alter table felix.commands enable always trigger commands_append_only;
alter table felix.commands enable always trigger commands_no_truncate;

-- Isolates a tenant-owned table: forced row-level security, the reader sees the bound tenant, the founder all.
create function felix.isolate(target regclass) returns void
  language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  execute format('alter table %s enable row level security', target);
  execute format('alter table %s force row level security', target);
  execute format('drop policy if exists bound_tenant on %s', target);
  execute format('drop policy if exists founder on %s', target);
  execute format('create policy bound_tenant on %s for select to felix_reader using (tenant_id = felix.current_tenant())', target);
  execute format('create policy founder on %s for select to felix_founder using (true)', target);
end
$$;

select felix.isolate('felix.events'), felix.isolate('felix.commands'), felix.isolate('felix.snapshots'),
       felix.isolate('felix.tenants');

alter table felix.api_keys enable row level security;
alter table felix.api_keys force row level security;
create policy owner on felix.api_keys to felix_owner using (true) with check (true);
create policy partition_of_a_key on felix.tenants for select to felix_owner using (true);

create function felix.authenticate(presented bytea)
  returns table (key_id text, role text, tenant_id uuid, partition int)
  language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select k.key_id, k.role, k.tenant_id, t.partition
  from felix.api_keys k left join felix.tenants t on t.tenant_id = k.tenant_id
  where k.key_hash = presented and k.revoked_at is null
$$;
revoke all on function felix.authenticate(bytea) from public;
grant execute on function felix.authenticate(bytea) to felix_reader;

create view felix.events_readable with (security_invoker = true) as
  select partition, position, tenant_id, tenant_sequence, stream, version, type, event_id, recorded_at, command_key,
         actor, metadata::jsonb as metadata, convert_from(state, 'UTF8')::jsonb as state
  from felix.events;

grant select on felix.partitions, felix.cursors to felix_writer, felix_projector, felix_reader, felix_founder;
grant insert, update (position) on felix.partitions to felix_writer;
grant select, insert on felix.events, felix.commands, felix.snapshots, felix.tenants to felix_writer;
grant select on felix.events, felix.commands, felix.snapshots, felix.tenants, felix.events_readable
  to felix_projector, felix_reader, felix_founder;
grant insert, update on felix.cursors to felix_projector;
alter default privileges in schema read grant select on tables to felix_reader, felix_founder;
alter default privileges in schema read grant select, insert, update, delete, truncate on tables to felix_projector;
