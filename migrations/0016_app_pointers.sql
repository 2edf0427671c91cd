-- What of an app runs where: the one row that every request of an app is answered by. The events of the same environment
-- are in the client's log; the row is written in their transaction (eventstore/app_pointers.py), so it moves when they
-- say so and never before or after.
set local role felix_owner;

create table felix.app_pointers (
  partition int not null,
  tenant_id uuid not null,
  app text not null check (app ~ '^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$'),
  environment text not null check (environment in ('production', 'sandbox')),
  stable text not null check (stable ~ '^[0-9a-f]{64}$'),
  candidate text check (candidate ~ '^[0-9a-f]{64}$'),
  weight int check (weight between 0 and 100),
  salt text check (salt ~ '^[0-9a-f]{32}$'),
  deployment_id text check (deployment_id ~ '^dep_[0-9a-f]{32}$'),
  read_only boolean not null default false,
  version bigint not null check (version > 0),
  constraint app_pointers_pkey primary key (partition, tenant_id, app, environment),
  constraint app_pointers_candidate_weight_check check ((candidate is null) = (weight is null)),
  constraint app_pointers_candidate_salt_check check ((candidate is null) = (salt is null)),
  constraint app_pointers_candidate_deployment_id_check check (candidate is null or deployment_id is not null),
  constraint app_pointers_candidate_stable_check check (candidate is null or candidate <> stable)
);
comment on column felix.app_pointers.weight is 'So many in a hundred people have the candidate; 0: only who asks for it by name.';
comment on column felix.app_pointers.deployment_id is 'Set from the beginning of a deployment to its end, whether it has a candidate or not.';
comment on column felix.app_pointers.version is 'Of the environment''s stream after the event that moved the pointer.';

select felix.isolate('felix.app_pointers');
create policy owner on felix.app_pointers to felix_owner using (true) with check (true);

-- Whoever holds an old version never writes over a newer one, whatever went wrong before.
create function felix.refuse_older_pointer() returns trigger
  language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  if new.version <= old.version then
    raise exception 'the pointer of % in % is at version % already', old.app, old.environment, old.version
      using errcode = 'FX409';
  end if;
  return new;
end
$$;
create trigger app_pointers_forward before update on felix.app_pointers
  for each row execute function felix.refuse_older_pointer();

grant select on felix.app_pointers to felix_reader, felix_founder, felix_projector;
grant select, insert, update (stable, candidate, weight, salt, deployment_id, read_only, version)
  on felix.app_pointers to felix_writer;
