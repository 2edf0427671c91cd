-- Work that is done later: what policies, the schedule and people ask for. A queue only carries its keys about; this
-- table is the truth, so a lost queue loses nothing.
set local role felix_owner;

create table felix.jobs (
  partition int not null,
  job_id uuid not null,
  tenant_id uuid,
  kind text not null,
  payload jsonb not null,
  due_at timestamptz not null,
  state text not null default 'waiting',
  attempts int not null default 0,
  max_attempts int not null,
  handed_out_at timestamptz,
  claim uuid,
  claimed_until timestamptz,
  progress_done bigint,
  progress_total bigint,
  error text,
  result jsonb,
  origin text not null,
  settled_by text,
  correlation_id uuid,
  causation_id uuid,
  created_at timestamptz not null default clock_timestamp(),
  finished_at timestamptz,
  constraint jobs_pkey primary key (partition, job_id),
  constraint jobs_state_check check (state in ('waiting', 'handed_out', 'running', 'done', 'dead', 'cancelled')),
  constraint jobs_payload_check check (octet_length(payload::text) <= 4096),
  constraint jobs_attempts_check check (attempts >= 0 and max_attempts > 0),
  constraint jobs_handed_out_check check ((state = 'handed_out') = (handed_out_at is not null)),
  constraint jobs_claim_check check ((state = 'running') = (claim is not null and claimed_until is not null)),
  constraint jobs_finished_check check ((state in ('done', 'dead', 'cancelled')) = (finished_at is not null))
) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05);

comment on table felix.jobs is 'Work that is done later. job_id follows from what the job is about, so asking twice is asking once.';
comment on column felix.jobs.tenant_id is 'Null for the work of the platform itself, which lives in partition 0.';
comment on column felix.jobs.claim is 'Whoever runs the job has it; what a worker reports under another claim is turned away.';
comment on column felix.jobs.claimed_until is 'By this clock, not a worker''s. After it the job is given to another.';

create index jobs_due_idx on felix.jobs (partition, due_at) where state = 'waiting';
create index jobs_handed_out_idx on felix.jobs (partition, handed_out_at) where state = 'handed_out';
create index jobs_claimed_until_idx on felix.jobs (partition, claimed_until) where state = 'running';
create index jobs_dead_idx on felix.jobs (partition, finished_at) where state = 'dead';
create index jobs_finished_idx on felix.jobs (partition, finished_at) where state in ('done', 'cancelled');
create index jobs_schedule_idx on felix.jobs (partition, origin, due_at) where tenant_id is null;
create index jobs_tenant_idx on felix.jobs (partition, tenant_id, due_at);

select felix.isolate('felix.jobs');
grant select on felix.jobs to felix_reader, felix_founder;
-- The worker does the work; whoever retries or cancels does so through the API, which signs in as the writer.
grant select, insert, update, delete on felix.jobs to felix_projector;
grant select, update (state, due_at, attempts, handed_out_at, claim, claimed_until, finished_at, settled_by)
  on felix.jobs to felix_writer;
