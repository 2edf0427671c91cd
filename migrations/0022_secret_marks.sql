-- What tenants' secrets are found by in a text, and not known from: hashes of each value as it is and as it may be
-- written, under a key that is derived for the tenant from the root key. A copy of the database finds nothing with them.
set local role felix_owner;

create table felix.secret_marks (
  partition int not null,
  tenant_id uuid not null,
  name text not null,
  version int not null,
  head bytea not null check (length(head) = 8),
  size_chars int not null check (size_chars >= 8),
  mark bytea not null check (length(mark) = 32),
  constraint secret_marks_pkey primary key (partition, tenant_id, name, version, mark),
  constraint secret_marks_secret_fkey foreign key (partition, tenant_id, name, version)
    references felix.tenant_secrets on update cascade on delete cascade
);
comment on table felix.secret_marks is 'One row a spelling of a version of a secret; they go with it. The length is all that it tells.';
comment on column felix.secret_marks.head is 'Keyed BLAKE2b of the first eight characters: where it is worth looking closer.';
comment on column felix.secret_marks.mark is 'HMAC-SHA256 of the whole.';

select felix.isolate('felix.secret_marks');
-- What is removed takes its marks along: the referential action is the owner's.
create policy owner on felix.secret_marks to felix_owner using (true) with check (true);
drop policy founder on felix.secret_marks;
grant select on felix.secret_marks to felix_reader;
grant insert, select (partition, tenant_id, name, version, mark) on felix.secret_marks to felix_writer;
