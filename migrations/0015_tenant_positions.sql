-- What a tenant is told of the log counts its own events (docs/decisions/0016-a-tenant-counts-its-own-events.md). A
-- command keeps the number that its last event has among its tenant's, beside its positions in the partition: so an
-- answer that is given again under its key says it too, and the audit trail needs no look at the events.
set local role felix_owner;

alter table felix.commands add column last_tenant_sequence bigint check (last_tenant_sequence > 0);

-- What is recorded is numbered once, by the owner, who is bound to no tenant: both belts are off for one statement.
alter table felix.commands disable trigger commands_append_only, no force row level security;
alter table felix.events no force row level security;
update felix.commands c set last_tenant_sequence = e.tenant_sequence
from felix.events e where e.partition = c.partition and e.position = c.last_position;
alter table felix.commands enable always trigger commands_append_only, force row level security;
alter table felix.events force row level security;

alter table felix.commands add constraint commands_last_tenant_sequence_last_position_check
  check ((last_tenant_sequence is null) = (last_position is null));
comment on column felix.commands.last_tenant_sequence is 'The tenant_sequence of its last event. The events of a command follow each other, so that of the first is as far before it as first_position is before last_position.';
