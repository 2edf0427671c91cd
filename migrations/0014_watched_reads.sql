-- Who may see a client as one of its members does, and until when: as the doors ask for it. The events of the same name
-- are in the client's log; a row is written in their transaction (application/staff.py).
set local role felix_owner;

create table felix.impersonations (
  partition int not null,
  tenant_id uuid not null,
  impersonation_id text not null check (impersonation_id ~ '^imp_[0-9a-f]{32}$'),
  caller_id text not null,
  credential_id text not null,
  role text not null check (role in ('client_owner', 'client_approver', 'client_member')),
  expires_at timestamptz not null,
  ended boolean not null default false,
  constraint impersonations_pkey primary key (partition, tenant_id, impersonation_id)
);
comment on column felix.impersonations.credential_id is 'The session or key that began it: nothing else can use it, and what ends the one ends the other.';

alter table felix.impersonations enable row level security;
alter table felix.impersonations force row level security;
create policy owner on felix.impersonations to felix_owner using (true) with check (true);
create policy bound_tenant on felix.impersonations for select to felix_reader
  using (tenant_id = felix.current_tenant());

-- One that has ended is of no use to anybody, on any process, a second later.
create trigger impersonations_generation after update or delete or truncate on felix.impersonations
  for each statement execute function felix.count_access_change();

grant select on felix.impersonations to felix_reader;
grant insert, update (ended), select (partition, tenant_id, impersonation_id, ended) on felix.impersonations
  to felix_writer;
-- The trigger counts as whoever writes.
grant select, update on felix.access_generation to felix_writer;
