-- A counter that moves with every change of an API key: a process that looked keys up may believe them for as long as
-- it stands still, and asks for one number a second instead of for every key.
set local role felix_owner;

create table felix.api_key_generation (
  only_row boolean primary key default true check (only_row),
  generation bigint not null default 0
);
insert into felix.api_key_generation default values;

create function felix.count_api_key_change() returns trigger
  language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
  update felix.api_key_generation set generation = generation + 1;
  return null;
end
$$;
create trigger api_keys_generation after insert or update or delete or truncate on felix.api_keys
  for each statement execute function felix.count_api_key_change();

grant select on felix.api_key_generation to felix_reader;
