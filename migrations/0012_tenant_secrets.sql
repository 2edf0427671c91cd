-- Secrets that tenants entrust to Felix, sealed with a key of the tenant, which is wrapped by the root key. A copy of
-- the database opens none of them. The writer puts them in and never reads them back; what a worker may have it gets
-- from definer functions, one secret at a time, after the log says what for.
set local role felix_owner;

create table felix.tenant_keys (
  partition int not null,
  tenant_id uuid not null,
  version int not null check (version > 0),
  wrapped bytea not null,
  made_at timestamptz not null,
  constraint tenant_keys_pkey primary key (partition, tenant_id, version)
);
comment on column felix.tenant_keys.wrapped is '32 random bytes sealed with the root key; the associated data names tenant and version.';

create table felix.tenant_secrets (
  partition int not null,
  tenant_id uuid not null,
  name text not null check (length(name) <= 64),
  version int not null check (version > 0),
  key_version int not null,
  sealed bytea not null,
  set_at timestamptz not null,
  constraint tenant_secrets_pkey primary key (partition, tenant_id, name, version),
  constraint tenant_secrets_key_fkey foreign key (partition, tenant_id, key_version) references felix.tenant_keys
);
create index tenant_secrets_key_version_idx on felix.tenant_secrets (partition, tenant_id, key_version);
comment on column felix.tenant_secrets.sealed is 'AES-256-GCM under the tenant''s key; the associated data names tenant, name and version.';

do $$
declare target text;
begin
  foreach target in array array['tenant_keys', 'tenant_secrets'] loop
    execute format('alter table felix.%I enable row level security', target);
    execute format('alter table felix.%I force row level security', target);
    execute format('create policy owner on felix.%I to felix_owner using (true) with check (true)', target);
  end loop;
end
$$;

create function felix.secret_for_use(in_partition int, of_tenant uuid, called text, wanted int[])
  returns table (version int, key_version int, wrapped bytea, sealed bytea)
  language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select s.version, s.key_version, k.wrapped, s.sealed
  from felix.tenant_secrets s join felix.tenant_keys k
    on k.partition = s.partition and k.tenant_id = s.tenant_id and k.version = s.key_version
  where s.partition = in_partition and s.tenant_id = of_tenant and s.name = called and s.version = any(wanted)
  order by s.version desc
$$;
comment on function felix.secret_for_use(int, uuid, text, int[]) is 'A secret as it is kept, for a worker that has written down what it uses it for.';

create function felix.secrets_under_old_keys(in_partition int, of_tenant uuid, new_key_version int)
  returns table (name text, version int, key_version int, wrapped bytea, sealed bytea)
  language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select s.name, s.version, s.key_version, k.wrapped, s.sealed
  from felix.tenant_secrets s join felix.tenant_keys k
    on k.partition = s.partition and k.tenant_id = s.tenant_id and k.version = s.key_version
  where s.partition = in_partition and s.tenant_id = of_tenant and s.key_version < new_key_version
  order by s.name, s.version
$$;

revoke all on function felix.secret_for_use(int, uuid, text, int[]), felix.secrets_under_old_keys(int, uuid, int)
  from public;
grant execute on function felix.secret_for_use(int, uuid, text, int[]), felix.secrets_under_old_keys(int, uuid, int)
  to felix_projector;

-- A wrapped key tells nothing without the root key, and whoever seals needs it.
grant insert, delete, select (partition, tenant_id, version, wrapped) on felix.tenant_keys to felix_writer;
grant insert, delete, update (key_version, sealed), select (partition, tenant_id, name, version, key_version)
  on felix.tenant_secrets to felix_writer;

-- Who users are at a sign-in provider (OpenID Connect). The provider's name for a person is a hash: it is presented,
-- and never needed back.
create table felix.bound_identities (
  issuer text not null check (length(issuer) <= 500),
  subject_index bytea not null check (length(subject_index) = 32),
  user_id text not null references felix.users,
  bound_at timestamptz not null,
  constraint bound_identities_pkey primary key (issuer, subject_index),
  constraint bound_identities_user_id_key unique (user_id, issuer)
);
comment on column felix.bound_identities.subject_index is 'HMAC-SHA256 of issuer and subject under a key derived from the root key.';
alter table felix.bound_identities enable row level security;
alter table felix.bound_identities force row level security;
create policy owner on felix.bound_identities to felix_owner using (true) with check (true);

create function felix.user_by_identity(of_issuer text, presented bytea) returns table (user_id text)
  language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select b.user_id from felix.bound_identities b where b.issuer = of_issuer and b.subject_index = presented
$$;
revoke all on function felix.user_by_identity(text, bytea) from public;
grant execute on function felix.user_by_identity(text, bytea) to felix_reader;
grant insert, delete, select (issuer, subject_index, user_id) on felix.bound_identities to felix_writer;
