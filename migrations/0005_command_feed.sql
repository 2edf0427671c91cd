-- Commands become a feed of their own, dense per partition like the events: a refusal leaves no event, and the audit
-- trail has to tell it all the same. They also keep who is behind them (metadata) and why they were given (reason).
-- A writer of the release before is refused from here on, and its callers are told to come back with the same key.
set local role felix_owner;

alter table felix.partitions add column commands bigint not null default 0 check (commands >= 0);
alter table felix.commands add column sequence bigint check (sequence > 0), add column metadata json,
  add column reason text;

-- What is recorded is numbered once, by the owner, who is bound to no tenant: both belts are off for two statements.
-- The reasons of before stay where they are, in the events.
alter table felix.commands disable trigger commands_append_only, no force row level security;
alter table felix.events no force row level security;
update felix.commands c set sequence = n.sequence, metadata = coalesce(e.metadata, '{}')
from (
  select partition, tenant_id, command_key, first_position,
    row_number() over (partition by partition order by recorded_at, command_key, tenant_id) as sequence
  from felix.commands
) n left join felix.events e on e.partition = n.partition and e.position = n.first_position
where c.partition = n.partition and c.tenant_id = n.tenant_id and c.command_key = n.command_key;
update felix.partitions p set commands = (select count(*) from felix.commands c where c.partition = p.partition);
alter table felix.commands enable always trigger commands_append_only, force row level security;
alter table felix.events force row level security;

alter table felix.commands alter column sequence set not null, alter column metadata set not null,
  add constraint commands_sequence_key unique (partition, sequence);
comment on column felix.commands.sequence is 'Dense per partition, in the order of decisions: felix.partitions.commands is the last one.';
comment on column felix.commands.metadata is 'As of the events: correlation_id, causation_id, on_behalf_of.';
comment on column felix.commands.reason is 'Why, in the words of whoever gave the command, where it takes a reason.';
grant update (commands) on felix.partitions to felix_writer;
