-- What is personal, apart from the log and erasable (src/felix/eventstore/vault.py). The log carries commitments; value
-- and salt are here, sealed under a key of the subject that goes with them. Subjects are users in the platform's
-- partition and clients' customers in theirs: rows are written in the lane's transaction and read by whoever is bound to
-- that tenant. The database never sees what is in them.
set local role felix_owner;

create table felix.subject_keys (
  partition int not null,
  tenant_id uuid not null,
  subject_id text not null check (length(subject_id) between 1 and 120),
  sealed_key bytea not null,
  constraint subject_keys_pkey primary key (partition, tenant_id, subject_id)
);
comment on column felix.subject_keys.sealed_key is '32 random bytes, wrapped with the root key and the erasure key.';

create table felix.vault (
  partition int not null,
  tenant_id uuid not null,
  subject_id text not null,
  field text not null check (field ~ '^[a-z][a-z0-9_]{0,62}$'),
  commitment text not null check (commitment ~ '^[0-9a-f]{64}$'),
  sealed bytea not null,
  constraint vault_pkey primary key (partition, tenant_id, subject_id, field),
  constraint vault_subject_fkey foreign key (partition, tenant_id, subject_id) references felix.subject_keys
);
comment on column felix.vault.commitment is 'HMAC-SHA256(salt, value) in hex, as the event says it.';
comment on column felix.vault.sealed is 'Salt and value, AES-256-GCM under the key of the subject.';

do $$
declare target text;
begin
  foreach target in array array['subject_keys', 'vault'] loop
    execute format('alter table felix.%I enable row level security', target);
    execute format('alter table felix.%I force row level security', target);
    execute format('create policy owner on felix.%I to felix_owner using (true) with check (true)', target);
    execute format('create policy bound_tenant on felix.%I for select to felix_reader using (tenant_id = felix.current_tenant())', target);
  end loop;
end
$$;
-- The writer puts values in and takes them out; of what is sealed it reads the subject's key only, to add to it.
grant insert, delete, select on felix.subject_keys to felix_writer;
grant insert, delete, select (partition, tenant_id, subject_id, field, commitment) on felix.vault to felix_writer;
grant select on felix.subject_keys, felix.vault to felix_reader;

-- What is known of one person apart from the vault, for that person: never a list.
create function felix.known_of(whose text)
  returns table (status text, registered_at timestamptz, memberships json)
  language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select u.status, u.registered_at,
         coalesce((select json_agg(json_build_object('tenant', t.slug, 'role', m.role, 'granted_at', m.granted_at,
                                                     'expires_at', m.expires_at) order by t.slug)
                   from felix.memberships m join felix.tenants t on t.tenant_id = m.tenant_id
                   where m.user_id = u.user_id), '[]')
  from felix.users u where u.user_id = whose
$$;
revoke all on function felix.known_of(text) from public;
grant execute on function felix.known_of(text) to felix_reader;
