-- Two more roles, each for one purpose. felix_sealer will read the log to seal it and may write nothing that it reads;
-- nobody can sign in as it before it has a password of its own. felix_backup copies the files of the whole server and
-- reads no table.
do $$
begin
  perform pg_catalog.pg_advisory_xact_lock(4608, 1);
  if not exists (select from pg_catalog.pg_roles where rolname = 'felix_sealer') then
    create role felix_sealer nologin;
  end if;
  if not exists (select from pg_catalog.pg_roles where rolname = 'felix_backup') then
    -- Somebody else's server may be backed up by its own means, and its administrator may not hand replication out.
    begin
      create role felix_backup nologin replication;
    exception when insufficient_privilege then
      create role felix_backup nologin;
    end;
  end if;
end
$$;
grant felix_sealer to current_user;

set local role felix_owner;
grant usage on schema felix to felix_sealer;
grant select (partition, position, tenant_id, tenant_sequence, stream, version, type, event_id, recorded_at, state)
  on felix.events to felix_sealer;
grant select on felix.partitions to felix_sealer;
create policy sealer on felix.events for select to felix_sealer using (true);
