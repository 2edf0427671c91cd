-- Who may come in: users, what they are a member of, sessions and API keys, as the doors ask for them at every request.
-- They are written in the transaction of the events that say so (application/unit_of_work.py: beside), so they are
-- never ahead of the log and never behind it. Secrets are hashes; the writer may put them there and not read them.
set local role felix_writer;
insert into felix.partitions (partition) values (0) on conflict do nothing;
insert into felix.tenants (tenant_id, partition, slug, name, recorded_at)
  values ('00000000-0000-7000-8000-00000000fe11', 0, 'felix-platform', 'Felix', now());

reset role;
set local role felix_owner;

create table felix.users (
  user_id text primary key check (user_id ~ '^usr_[0-9a-f]{32}$'),
  email_index bytea check (length(email_index) = 32),
  status text not null default 'active' check (status in ('active', 'disabled', 'erased')),
  registered_at timestamptz not null,
  constraint users_email_index_key unique (email_index),
  constraint users_erased_check check ((email_index is null) = (status = 'erased'))
);
comment on column felix.users.email_index is 'HMAC-SHA256 of the normalised address under a key derived from the root key: finds a user, tells nothing.';

create table felix.memberships (
  tenant_id uuid not null,
  user_id text not null,
  role text not null check (role in
    ('founder', 'founder_readonly', 'client_owner', 'client_approver', 'client_member', 'auditor')),
  expires_at timestamptz,
  granted_at timestamptz not null,
  constraint memberships_pkey primary key (tenant_id, user_id),
  constraint memberships_platform_check check
    ((role in ('founder', 'founder_readonly')) = (tenant_id = '00000000-0000-7000-8000-00000000fe11')),
  constraint memberships_auditor_check check (role <> 'auditor' or expires_at is not null)
);
create index memberships_user_id_idx on felix.memberships (user_id);

create table felix.sessions (
  session_id text primary key check (session_id ~ '^sess_[0-9a-f]{32}$'),
  token_hash bytea not null check (length(token_hash) = 32),
  user_id text not null,
  method text not null check (method in ('password', 'magic_link', 'invitation', 'oidc')),
  second_factor boolean not null,
  began_at timestamptz not null,
  last_seen_at timestamptz not null,
  expires_at timestamptz not null,
  stepped_up_at timestamptz,
  ended_at timestamptz,
  device text not null default '',
  constraint sessions_token_hash_key unique (token_hash)
);
create index sessions_user_id_idx on felix.sessions (user_id);

alter table felix.api_keys drop constraint api_keys_role_check, drop constraint api_keys_tenant_check;
update felix.api_keys set role = 'service' where role = 'client';
alter table felix.api_keys
  add column scopes text[],
  add column expires_at timestamptz,
  add column last_used_at timestamptz,
  add constraint api_keys_role_check check (role in ('founder', 'founder_readonly', 'service')),
  add constraint api_keys_tenant_check check ((role = 'service') = (tenant_id is not null));
comment on column felix.api_keys.scopes is 'Actions that the key is limited to; null: all that its role may do.';

-- Whatever changes who may come in moves this counter; every process asks for it once a second.
alter table felix.api_key_generation rename to access_generation;
alter function felix.count_api_key_change() rename to count_access_change;
create or replace function felix.count_access_change() returns trigger
  language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  update felix.access_generation set generation = generation + 1;
  return null;
end
$$;
drop trigger api_keys_generation on felix.api_keys;
create trigger api_keys_generation
  after insert or delete or truncate or update of role, tenant_id, scopes, expires_at, revoked_at on felix.api_keys
  for each statement execute function felix.count_access_change();
create trigger users_generation after update or delete or truncate on felix.users
  for each statement execute function felix.count_access_change();
create trigger memberships_generation after insert or update or delete or truncate on felix.memberships
  for each statement execute function felix.count_access_change();
create trigger sessions_generation
  after delete or truncate or update of token_hash, stepped_up_at, ended_at on felix.sessions
  for each statement execute function felix.count_access_change();

do $$
declare target text;
begin
  foreach target in array array['users', 'memberships', 'sessions'] loop
    execute format('alter table felix.%I enable row level security', target);
    execute format('alter table felix.%I force row level security', target);
    execute format('create policy owner on felix.%I to felix_owner using (true) with check (true)', target);
  end loop;
end
$$;
create policy bound_tenant on felix.memberships for select to felix_reader using (tenant_id = felix.current_tenant());
create policy founder on felix.memberships for select to felix_founder using (true);
create policy founder on felix.users for select to felix_founder using (true);
create policy bound_tenant on felix.api_keys for select to felix_reader using (tenant_id = felix.current_tenant());
create policy founder on felix.api_keys for select to felix_founder using (true);

drop function felix.authenticate(bytea);
create function felix.authenticate_key(presented bytea)
  returns table (key_id text, role text, tenant_id uuid, slug text, partition int, scopes text[], expires_at timestamptz)
  language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select k.key_id, k.role, k.tenant_id, t.slug, t.partition, k.scopes, k.expires_at
  from felix.api_keys k left join felix.tenants t on t.tenant_id = k.tenant_id
  where k.key_hash = presented and k.revoked_at is null
$$;
comment on function felix.authenticate_key(bytea) is 'The key behind the SHA-256 of what was presented; one that has expired is answered too, the caller compares.';

create function felix.authenticate_session(presented bytea)
  returns table (session_id text, user_id text, method text, second_factor boolean, last_seen_at timestamptz,
                 expires_at timestamptz, stepped_up_at timestamptz, memberships json)
  language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select s.session_id, s.user_id, s.method, s.second_factor, s.last_seen_at, s.expires_at, s.stepped_up_at,
         coalesce((select json_agg(json_build_object('tenant_id', m.tenant_id, 'slug', t.slug, 'partition', t.partition,
                                                     'role', m.role, 'expires_at', m.expires_at) order by t.slug)
                   from felix.memberships m join felix.tenants t on t.tenant_id = m.tenant_id
                   where m.user_id = s.user_id), '[]')
  from felix.sessions s join felix.users u on u.user_id = s.user_id
  where s.token_hash = presented and s.ended_at is null and u.status = 'active'
$$;

create function felix.user_by_email_index(presented bytea) returns table (user_id text, status text)
  language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select u.user_id, u.status from felix.users u where u.email_index = presented
$$;

create function felix.sessions_of(whose text)
  returns table (session_id text, method text, second_factor boolean, began_at timestamptz, last_seen_at timestamptz,
                 expires_at timestamptz, stepped_up_at timestamptz, ended_at timestamptz, device text)
  language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select session_id, method, second_factor, began_at, last_seen_at, expires_at, stepped_up_at, ended_at, device
  from felix.sessions where user_id = whose order by began_at desc
$$;

revoke all on function felix.authenticate_key(bytea), felix.authenticate_session(bytea),
  felix.user_by_email_index(bytea), felix.sessions_of(text) from public;
grant execute on function felix.authenticate_key(bytea), felix.authenticate_session(bytea),
  felix.user_by_email_index(bytea), felix.sessions_of(text) to felix_reader;

-- The writer puts secrets in and never reads them back: it selects only what its updates are found by.
grant insert, update (status, email_index), select (user_id, email_index) on felix.users to felix_writer;
grant insert, update (role, expires_at), delete, select (tenant_id, user_id, role, expires_at) on felix.memberships
  to felix_writer;
grant insert, update (token_hash, last_seen_at, expires_at, stepped_up_at, ended_at, second_factor),
  select (session_id, user_id, ended_at, last_seen_at) on felix.sessions to felix_writer;
grant insert, update (expires_at, last_used_at, revoked_at, label), select (key_id, tenant_id, role, label, expires_at, last_used_at, revoked_at)
  on felix.api_keys to felix_writer;
grant select on felix.memberships to felix_reader, felix_founder;
grant select (user_id, status, registered_at) on felix.users to felix_founder;
grant select (key_id, role, tenant_id, label, created_at, scopes, expires_at, last_used_at, revoked_at) on felix.api_keys
  to felix_reader, felix_founder;
