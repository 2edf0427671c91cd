-- How far the eventsourcing library's projections and process managers have come (Felix's own use felix.cursors).
set local role felix_owner;

create table felix.tracking (
  partition int not null,
  tracker text not null,
  application_name text not null,
  notification_id bigint not null check (notification_id >= 0),
  constraint tracking_pkey primary key (partition, tracker, application_name)
) with (fillfactor = 50);
comment on table felix.tracking is 'The last position of application_name that tracker has dealt with; it only grows. partition is where the tracker writes.';

grant select, insert, update (notification_id) on felix.tracking to felix_writer, felix_projector;
grant select on felix.tracking to felix_founder;
