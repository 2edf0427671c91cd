-- What people sign in with. The log says that it was set and used; what it is stands here, hashed or sealed. Written in
-- the transaction of those events, but for attempts, which no event tells of, and links that a mail carries.
set local role felix_owner;

create table felix.passwords (
  user_id text primary key references felix.users,
  password_hash text not null check (password_hash like '$argon2id$%'),
  set_at timestamptz not null
);

create table felix.second_factors (
  user_id text primary key references felix.users,
  sealed_secret bytea not null,
  last_step bigint not null,
  enrolled_at timestamptz not null
);
comment on column felix.second_factors.last_step is 'Time step (RFC 6238) of the last code that was used; it and earlier ones are worthless.';

create table felix.recovery_codes (
  user_id text not null references felix.users,
  code_hash bytea not null check (length(code_hash) = 32),
  constraint recovery_codes_pkey primary key (user_id, code_hash)
);
comment on table felix.recovery_codes is 'Codes that can still be used, by their HMAC under a key derived from the root key.';

create table felix.links (
  token_hash bytea primary key check (length(token_hash) = 32),
  purpose text not null check (purpose in ('invitation', 'magic_link', 'password_reset')),
  subject text not null,
  made_at timestamptz not null,
  expires_at timestamptz not null,
  used_at timestamptz,
  constraint links_expires_at_check check (expires_at > made_at)
);
create index links_subject_idx on felix.links (subject);
comment on column felix.links.subject is 'Whom or what the link is for: a user''s id, or an invitation''s.';

create table felix.sign_in_attempts (
  subject bytea primary key check (length(subject) = 32),
  failures int not null check (failures >= 0),
  failed_at timestamptz not null,
  wait_until timestamptz
);
comment on column felix.sign_in_attempts.subject is 'HMAC of an account''s address, a known device or a network address: those of accounts that do not exist are counted alike.';

do $$
declare target text;
begin
  foreach target in array array['passwords', 'second_factors', 'recovery_codes', 'links', 'sign_in_attempts'] loop
    execute format('alter table felix.%I enable row level security', target);
    execute format('alter table felix.%I force row level security', target);
    execute format('create policy owner on felix.%I to felix_owner using (true) with check (true)', target);
  end loop;
end
$$;

create policy founder on felix.sessions for select to felix_founder using (true);
grant select (session_id, user_id, method, second_factor, began_at, last_seen_at, expires_at, stepped_up_at, ended_at, device)
  on felix.sessions to felix_founder;

-- A door checks what it is shown against these: one person at a time, never a list.
create function felix.credentials_of(whose text)
  returns table (user_id text, status text, password_hash text, password_set_at timestamptz, sealed_secret bytea,
                 last_step bigint, recovery_codes bigint)
  language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select u.user_id, u.status, p.password_hash, p.set_at, f.sealed_secret, f.last_step,
         (select count(*) from felix.recovery_codes c where c.user_id = u.user_id)
  from felix.users u
    left join felix.passwords p on p.user_id = u.user_id
    left join felix.second_factors f on f.user_id = u.user_id
  where u.user_id = whose
$$;

create function felix.link_behind(presented bytea, wanted text, at timestamptz) returns table (subject text)
  language sql stable security definer set search_path = pg_catalog, pg_temp as $$
  select l.subject from felix.links l
  where l.token_hash = presented and l.purpose = wanted and l.used_at is null and l.expires_at > at
$$;

revoke all on function felix.credentials_of(text), felix.link_behind(bytea, text, timestamptz) from public;
grant execute on function felix.credentials_of(text), felix.link_behind(bytea, text, timestamptz) to felix_reader;

-- The writer puts secrets in; what it selects is what its questions and updates are found by.
grant insert, update (password_hash, set_at), delete, select (user_id, set_at) on felix.passwords to felix_writer;
grant insert, update (sealed_secret, last_step, enrolled_at), delete, select (user_id, last_step)
  on felix.second_factors to felix_writer;
grant insert, update (code_hash), delete, select (user_id, code_hash) on felix.recovery_codes to felix_writer;
grant insert, update (used_at), delete, select on felix.links to felix_writer;
grant select, insert, update, delete on felix.sign_in_attempts to felix_writer;
grant select (began_at, expires_at), delete on felix.sessions to felix_writer;
grant execute on function felix.user_by_email_index(bytea) to felix_writer;
-- A door asks for the mails that are to be sent.
grant insert on felix.jobs to felix_writer;
