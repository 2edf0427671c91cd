-- What language models have planned, found again by what they were asked, and what was set aside for them in a day. Both
-- belong to events of changes and are written in their transaction (eventstore/recorded_plans.py, model_spending.py).
set local role felix_owner;

create table felix.recorded_plans (
  partition int not null,
  tenant_id uuid not null,
  question bytea not null check (length(question) = 32),
  change_id text not null check (change_id ~ '^chg_[0-9a-f]{32}$'),
  version bigint not null check (version > 0),
  planned_at timestamptz not null,
  constraint recorded_plans_pkey primary key (partition, tenant_id, question)
);
create index recorded_plans_planned_at_idx on felix.recorded_plans (partition, tenant_id, planned_at);
comment on column felix.recorded_plans.question is 'HMAC under a key of this installation of all that a plan depends on, words included.';
comment on column felix.recorded_plans.version is 'Of the event in the stream of the change that has the plan.';

create table felix.model_spending (
  partition int not null,
  tenant_id uuid not null,
  hold_id text not null check (hold_id ~ '^hold_[0-9a-f]{32}$'),
  day date not null,
  amount_mtok bigint not null check (amount_mtok >= 0),
  constraint model_spending_pkey primary key (partition, tenant_id, hold_id)
);
create index model_spending_day_idx on felix.model_spending (partition, tenant_id, day);
comment on table felix.model_spending is 'One row a request to a model: what was held for it on that day (UTC), and once it is over what it cost.';

select felix.isolate('felix.recorded_plans');
create policy owner on felix.recorded_plans to felix_owner using (true) with check (true);
select felix.isolate('felix.model_spending');
create policy owner on felix.model_spending to felix_owner using (true) with check (true);

grant select on felix.recorded_plans, felix.model_spending to felix_reader, felix_founder;
grant select, insert, delete on felix.recorded_plans to felix_writer;
grant select, insert, update (amount_mtok), delete on felix.model_spending to felix_writer;
