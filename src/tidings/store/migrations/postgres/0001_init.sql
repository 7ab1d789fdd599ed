-- The same nouns as SQLite's first step. Keys are compared byte by byte (collate "C"), whatever the database's own
-- collation: ids sort by time only that way. Times are milliseconds since the Unix epoch. Keys lead with the project.
-- Personal data is only in `personal` and in columns called `sealed` (AES-256-GCM, base64); `*_hash` columns are keyed
-- hashes for look-up. Only one index of a table leads with the project, and none where others are looked up in too: while tables are
-- young the planner cannot tell such indexes apart, and a look-up by key would walk the project.

create table installation (name text collate "C" primary key, value text not null);

create table projects (id text collate "C" primary key, name text not null, created_ms bigint not null);

create table keys (
  id text collate "C" primary key, project text collate "C" not null, name text not null, mode text not null,
  scopes text not null, hash text collate "C" not null unique, hint text not null, created_ms bigint not null,
  expires_ms bigint, revoked_ms bigint
);
create index keys_project on keys (project, id);

-- What is written to a message after acceptance touches no index, so fill factors leave room for updates in place.
create table messages (
  project text collate "C" not null, id text collate "C" not null, mode text not null, channel text not null,
  lane integer not null, status text not null, created_ms bigint not null, due_ms bigint not null,
  valid_until_ms bigint, sequence text collate "C", on_unknown text not null, template text, locale text,
  reference text collate "C", tags text, retry_of text,
  provider text collate "C", encoding text, parts integer, error text,
  sent_ms bigint, delivered_ms bigint, ended_ms bigint, read_ms bigint, replied_ms bigint, unsubscribed_ms bigint,
  primary key (project, id)
) with (fillfactor = 80);
create index messages_reference on messages (project, reference, id) where reference is not null;

create table personal (
  project text collate "C" not null, owner text collate "C" not null, key_id text not null,
  to_hash text collate "C" not null, sealed text not null,
  primary key (project, owner)
);
create index personal_to on personal (to_hash, owner);

-- One row for each message that still has to be handed over. `due_ms` of a leased job is when its lease ends:
-- a dead worker's jobs come due again by themselves. A job of a sequence waits at `never` for its predecessor.
-- Rows live for seconds: dead ones are cleared away long before a share of the table is dead.
create table jobs (
  project text collate "C" not null, message text collate "C" not null, lane integer not null,
  provider text collate "C" not null default '', due_ms bigint not null, ready_ms bigint not null, expires_ms bigint,
  tries integer not null default 0, sequence text collate "C", owner text collate "C",
  kind text not null default 'deliver',
  primary key (project, message)
) with (autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 5000);
create index jobs_due on jobs (lane, project, provider, due_ms);
create index jobs_expire on jobs (expires_ms) where expires_ms is not null;
create index jobs_sequence on jobs (project, sequence, message) where sequence is not null;

create table attempts (
  project text collate "C" not null, id text collate "C" not null, message text collate "C" not null, n integer not null,
  provider text collate "C" not null, channel text not null, status text collate "C" not null, parts integer not null,
  part_states text not null default '', node text not null, epoch bigint not null, to_hash text collate "C" not null,
  sender text, user_ref bigint, created_ms bigint not null, sent_ms bigint, ended_ms bigint, error text,
  cost double precision,
  primary key (id, project)
);
create index attempts_message on attempts (message, n);
create index attempts_open on attempts (status, provider, to_hash) where status in ('sending', 'unknown');

-- The carrier's ids of our parts.
create table refs (
  provider text collate "C" not null, ref text collate "C" not null, to_hash text collate "C" not null,
  project text collate "C" not null, attempt text collate "C" not null, part integer not null,
  primary key (provider, ref, to_hash)
);

-- Receipts that match no attempt (yet): the answer to the submit may still be on its way. `receipt_refs` has every
-- spelling of their carrier's id.
create table receipts (
  id bigint generated always as identity primary key, provider text collate "C" not null,
  ref text collate "C" not null, to_hash text collate "C", receipt text not null, received_ms bigint not null
);
create index receipts_to on receipts (provider, to_hash);
create index receipts_age on receipts (received_ms);
create table receipt_refs (
  provider text collate "C" not null, ref text collate "C" not null,
  receipt bigint not null references receipts (id) on delete cascade,
  primary key (provider, ref, receipt)
);
create index receipt_refs_of on receipt_refs (receipt);

create table concat_refs (
  provider text collate "C" not null, to_hash text collate "C" not null, n integer not null,
  primary key (provider, to_hash)
);

-- The log. `data` holds ids and codes, never addresses or content. `seq` is made of the number of the transaction that
-- wrote the event and of its place in it (tidings/store/postgres/log.py says why); `log_base` is added to that number.
create table events (
  seq bigint primary key, project text collate "C" not null, id text collate "C" not null,
  type text collate "C" not null, message text collate "C", at_ms bigint not null, data text
);
create index events_project on events (project, seq);
create index events_message on events (project, message, seq) where message is not null;
create table log_base (only_row boolean primary key default true check (only_row), base bigint not null);
insert into log_base (base) values (0);

-- One row for each writer connection's place: the number of its last transaction (tidings/store/postgres/engine.py).
create table marks (
  writer text collate "C" primary key, token bigint not null, since timestamptz not null default now()
) with (fillfactor = 50);

create table cursors (subscriber text collate "C" primary key, seq bigint not null);

create table suppressions (
  project text collate "C" not null, channel text collate "C" not null, to_hash text collate "C" not null,
  reason text not null, created_ms bigint not null,
  primary key (project, channel, to_hash)
);

-- Idempotency records; `day` is days since the epoch. Old ones go a few at a time as new ones come.
create table idempotency (
  project text collate "C" not null, key_hash text collate "C" not null, body_hash text not null,
  resource text collate "C" not null, day integer not null,
  primary key (project, key_hash)
);
create index idempotency_day on idempotency (day);

create table inbound (
  project text collate "C" not null, id text collate "C" not null, provider text collate "C" not null,
  channel text not null, in_reply_to text, parts integer not null, missing integer not null,
  received_ms bigint not null,
  primary key (project, id)
);
create table inbound_parts (
  provider text collate "C" not null, from_hash text collate "C" not null, to_hash text collate "C" not null,
  ref integer not null, total integer not null, part integer not null, key_id text not null, sealed text not null,
  received_ms bigint not null,
  primary key (provider, from_hash, to_hash, ref, total, part)
);
create index inbound_parts_age on inbound_parts (received_ms);
create table inbound_seen (dedup text collate "C" primary key, received_ms bigint not null);
create index inbound_seen_age on inbound_seen (received_ms);

create table endpoints (
  project text collate "C" not null, id text collate "C" not null, key_id text not null, sealed text not null,
  types text not null, description text not null, status text not null, reason text, cursor bigint not null,
  failing_since_ms bigint, created_ms bigint not null,
  primary key (project, id)
);
create table deliveries (
  project text collate "C" not null, id text collate "C" not null, endpoint text collate "C" not null,
  event_seq bigint not null, event_id text not null, type text not null, status text not null, tries integer not null,
  next_ms bigint, http_status integer, error text, latency_ms bigint, created_ms bigint not null,
  updated_ms bigint not null,
  primary key (project, id)
);
create index deliveries_endpoint on deliveries (endpoint, id);
create index deliveries_due on deliveries (endpoint, next_ms) where next_ms is not null;

-- Providers declared over the API (the others are in tidings.toml), and who owns their binds.
create table providers (
  project text collate "C" not null, id text collate "C" not null, name text collate "C" not null, type text not null,
  key_id text not null, sealed text not null, created_ms bigint not null,
  primary key (project, id)
);
create unique index providers_name on providers (name);
create table provider_states (name text collate "C" primary key, paused integer not null);
create table provider_leases (
  provider text collate "C" not null, slot integer not null, node text collate "C" not null, epoch bigint not null,
  share double precision not null, until_ms bigint not null,
  primary key (provider, slot)
);
