-- What apps do to the world outside: an outbox, written in the transaction of the events that cause it
-- (src/felix/eventstore/effects.py). A row holds no personal value: who gets a mail is looked up when it is sent.
set local role felix_owner;

create table felix.effects (
  partition int not null,
  tenant_id uuid not null,
  effect_id uuid not null,
  app text not null,
  environment text not null check (environment in ('production', 'sandbox')),
  release text not null check (release ~ '^[0-9a-f]{64}$'),
  deployment_id text check (deployment_id ~ '^dep_[0-9a-f]{32}$'),
  kind text not null check (kind in ('email', 'report', 'webhook')),
  cause text not null,
  told jsonb not null,
  state text not null,
  made_at timestamptz not null,
  settled_at timestamptz,
  failure text,
  constraint effects_pkey primary key (partition, tenant_id, effect_id),
  constraint effects_state_check check (state in ('held', 'due', 'sent', 'failed', 'dropped')),
  constraint effects_told_check check (octet_length(told::text) <= 8388608),
  constraint effects_held_check check (state <> 'held' or deployment_id is not null),
  constraint effects_settled_check check ((state in ('sent', 'failed', 'dropped')) = (settled_at is not null)),
  constraint effects_failure_check check ((state = 'failed') = (failure is not null))
) with (fillfactor = 80);

comment on table felix.effects is 'The outbox of apps. effect_id follows from what caused it, and is the id of the job that sends it.';
comment on column felix.effects.deployment_id is 'The deployment whose candidate made it: held until that is promoted, dropped if it is rolled back.';
comment on column felix.effects.cause is 'What made it: an automation and the version of a record that set it off, or a schedule and its time.';

create index effects_held_idx on felix.effects (partition, tenant_id, deployment_id) where state = 'held';
create index effects_settled_at_idx on felix.effects (partition, settled_at) where settled_at is not null;
create index effects_made_at_idx on felix.effects (partition, tenant_id, app, environment, made_at);

select felix.isolate('felix.effects');
grant select on felix.effects to felix_reader, felix_founder, felix_projector;
-- The worker forgets what was settled long ago; the client's log still says it.
grant delete on felix.effects to felix_projector;
-- A command that is decided again finds its own row: an effect is made once.
grant select, insert, update (state, settled_at, failure) on felix.effects to felix_writer;
