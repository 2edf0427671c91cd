-- What a client lets planners read, cut into passages that are found by their words (src/felix/eventstore/
-- context_index.py). Texts are called by their digest and indexed once, before the command that adds a document; what can
-- be found is what a document leads to, and documents are written and removed in the transaction of their events.
set local role felix_owner;

create table felix.context_texts (
  partition int not null,
  tenant_id uuid not null,
  text_digest text not null check (text_digest ~ '^[0-9a-f]{64}$'),
  cutter int not null check (cutter > 0),
  size_bytes bigint not null check (size_bytes > 0),
  staged_at timestamptz not null default now(),
  constraint context_texts_pkey primary key (partition, tenant_id, text_digest)
);
comment on column felix.context_texts.cutter is 'In which way it was cut into passages.';
comment on column felix.context_texts.staged_at is 'When somebody last wanted it indexed. What no document leads to an hour later is forgotten.';

create table felix.context_passages (
  partition int not null,
  tenant_id uuid not null,
  text_digest text not null,
  number int not null check (number > 0),
  heading text not null,
  body text not null,
  words tsvector not null generated always as
    (setweight(to_tsvector('pg_catalog.english', heading), 'C') || to_tsvector('pg_catalog.english', body)) stored,
  constraint context_passages_pkey primary key (partition, tenant_id, text_digest, number),
  constraint context_passages_text_fkey foreign key (partition, tenant_id, text_digest) references felix.context_texts
    on delete cascade
);

create table felix.context_documents (
  partition int not null,
  tenant_id uuid not null,
  document_id text not null check (document_id ~ '^doc_[0-9a-f]{32}$'),
  kind text not null check (kind in ('markdown', 'text', 'pdf', 'database', 'repository')),
  title text not null,
  text_digest text not null,
  redactions jsonb not null,
  constraint context_documents_pkey primary key (partition, tenant_id, document_id),
  constraint context_documents_text_fkey foreign key (partition, tenant_id, text_digest) references felix.context_texts
);
create index context_documents_text_digest_idx on felix.context_documents (partition, tenant_id, text_digest);

select felix.isolate('felix.context_texts');
select felix.isolate('felix.context_passages');
select felix.isolate('felix.context_documents');
do $$
declare target text;
begin
  foreach target in array array['context_texts', 'context_passages', 'context_documents'] loop
    execute format('create policy owner on felix.%I to felix_owner using (true) with check (true)', target);
  end loop;
end
$$;

grant select on felix.context_texts, felix.context_passages, felix.context_documents to felix_reader;
-- The writer never reads a passage.
grant select, insert, delete, update (staged_at) on felix.context_texts to felix_writer;
grant insert on felix.context_passages to felix_writer;
grant select, insert, delete, update (kind, title, text_digest, redactions) on felix.context_documents to felix_writer;
