-- What an API process asks before it says that it is ready. The list of migrations belongs to whoever migrates; the
-- view runs with that person's rights, so that no process that serves needs the administrator's address for it.
create view felix.applied_migrations as select version, name, sha256, applied_at from felix_migrations;
comment on view felix.applied_migrations is 'The migrations that this database has seen.';
grant select on felix.applied_migrations to felix_reader, felix_founder;
