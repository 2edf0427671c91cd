-- Database roles. No process runs as the owner; only the writer appends; readers see one bound tenant.
-- felix_writer and felix_projector bypass row-level security because one batch of theirs carries rows of several
-- tenants and because COPY FROM is refused on tables whose policies apply to the role
-- (docs/decisions/0003-writer-bypasses-row-level-security.md).
do $$
begin
  -- Roles belong to the whole cluster: another database of the same server may have made them already, or be at it.
  perform pg_catalog.pg_advisory_xact_lock(4608, 1);
  if not exists (select from pg_catalog.pg_roles where rolname = 'felix_owner') then
    create role felix_owner nologin;
  end if;
  if not exists (select from pg_catalog.pg_roles where rolname = 'felix_writer') then
    create role felix_writer login bypassrls;
  end if;
  if not exists (select from pg_catalog.pg_roles where rolname = 'felix_projector') then
    create role felix_projector login bypassrls;
  end if;
  if not exists (select from pg_catalog.pg_roles where rolname = 'felix_reader') then
    create role felix_reader login;
  end if;
  if not exists (select from pg_catalog.pg_roles where rolname = 'felix_founder') then
    create role felix_founder login;
  end if;
end
$$;
grant felix_owner, felix_writer, felix_projector, felix_reader, felix_founder to current_user;
create schema felix authorization felix_owner;
create schema read authorization felix_owner;
revoke all on schema public from public;
grant usage on schema felix, read to felix_writer, felix_projector, felix_reader, felix_founder;
