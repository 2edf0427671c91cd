-- What is counted of running releases, a row for each minute and measure (domain/apps/measured.py): what the guardrails
-- of a deploy look at. Not a part of the log: a count that is lost is one sample less.
set local role felix_owner;

create table felix.app_measurements (
  partition int not null,
  tenant_id uuid not null,
  app text not null,
  environment text not null check (environment in ('production', 'sandbox')),
  release text not null check (release ~ '^[0-9a-f]{64}$'),
  minute timestamptz not null check (minute = date_trunc('minute', minute, 'UTC')),
  measure text not null,
  counted bigint not null check (counted >= 0),
  constraint app_measurements_pkey primary key (partition, tenant_id, app, environment, release, minute, measure)
);
create index app_measurements_minute_idx on felix.app_measurements (partition, minute);

select felix.isolate('felix.app_measurements');
create policy owner on felix.app_measurements to felix_owner using (true) with check (true);

grant select on felix.app_measurements to felix_reader, felix_founder;
grant select, insert, update (counted), delete on felix.app_measurements to felix_writer;
