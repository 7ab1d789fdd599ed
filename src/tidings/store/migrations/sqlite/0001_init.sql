-- Times are milliseconds since the Unix epoch. Keys lead with the project. Personal data is only in `personal`
-- and in columns called `sealed` (AES-256-GCM, base64); `*_hash` columns are keyed hashes for look-up.

create table installation (name text primary key, value text not null) without rowid;

create table projects (
  id text primary key, name text not null, created_ms integer not null
) without rowid;

create table keys (
  id text primary key, project text not null, name text not null, mode text not null, scopes text not null,
  hash text not null unique, hint text not null, created_ms integer not null, expires_ms integer, revoked_ms integer
) without rowid;
create index keys_project on keys (project, id);

create table messages (
  project text not null, id text not null, mode text not null, channel text not null, lane integer not null,
  status text not null, created_ms integer not null, due_ms integer not null, valid_until_ms integer,
  sequence text, on_unknown text not null, template text, locale text, reference text, tags text, retry_of text,
  provider text, encoding text, parts integer, error text,
  sent_ms integer, delivered_ms integer, ended_ms integer, read_ms integer, replied_ms integer, unsubscribed_ms integer,
  primary key (project, id)
) without rowid;
create index messages_reference on messages (project, reference, id) where reference is not null;

create table personal (
  project text not null, owner text not null, key_id text not null, to_hash text not null, sealed text not null,
  primary key (project, owner)
) without rowid;
create index personal_to on personal (to_hash, owner);

-- One row for each message that still has to be handed over. `due_ms` of a leased job is when its lease ends:
-- a dead worker's jobs come due again by themselves. A job of a sequence waits at `never` for its predecessor.
create table jobs (
  project text not null, message text not null, lane integer not null, provider text not null default '',
  due_ms integer not null, ready_ms integer not null, expires_ms integer, tries integer not null default 0,
  sequence text, owner text, kind text not null default 'deliver',
  primary key (project, message)
) without rowid;
create index jobs_due on jobs (lane, project, provider, due_ms);
create index jobs_expire on jobs (expires_ms) where expires_ms is not null;
create index jobs_sequence on jobs (project, sequence, message) where sequence is not null;

create table attempts (
  project text not null, id text not null, message text not null, n integer not null, provider text not null,
  channel text not null, status text not null, parts integer not null, part_states text not null default '',
  node text not null, epoch integer not null, to_hash text not null, sender text, user_ref integer,
  created_ms integer not null, sent_ms integer, ended_ms integer, error text, cost real,
  primary key (project, id)
) without rowid;
create index attempts_message on attempts (project, message, n);
create index attempts_open on attempts (status, provider, to_hash) where status in ('sending', 'unknown');

-- The carrier's ids of our parts.
create table refs (
  provider text not null, ref text not null, to_hash text not null, project text not null, attempt text not null,
  part integer not null,
  primary key (provider, ref, to_hash)
) without rowid;

-- Receipts that match no attempt (yet): the answer to the submit may still be on its way.
create table receipts (
  id integer primary key, provider text not null, ref text not null, to_hash text, receipt text not null,
  received_ms integer not null
);
create index receipts_ref on receipts (provider, ref);
create index receipts_age on receipts (received_ms);

create table concat_refs (
  provider text not null, to_hash text not null, n integer not null, primary key (provider, to_hash)
) without rowid;

-- The log. `data` holds ids and codes, never addresses or content.
create table events (
  seq integer primary key autoincrement, project text not null, id text not null, type text not null,
  message text, at_ms integer not null, data text
);
create index events_project on events (project, seq);
create index events_message on events (project, message, seq) where message is not null;

create table cursors (subscriber text primary key, seq integer not null) without rowid;

create table suppressions (
  project text not null, channel text not null, to_hash text not null, reason text not null, created_ms integer not null,
  primary key (project, channel, to_hash)
) without rowid;

create table inbound (
  project text not null, id text not null, provider text not null, channel text not null, in_reply_to text,
  parts integer not null, missing integer not null, received_ms integer not null,
  primary key (project, id)
) without rowid;
create table inbound_parts (
  provider text not null, from_hash text not null, to_hash text not null, ref integer not null, total integer not null,
  part integer not null, key_id text not null, sealed text not null, received_ms integer not null,
  primary key (provider, from_hash, to_hash, ref, total, part)
) without rowid;
create index inbound_parts_age on inbound_parts (received_ms);
create table inbound_seen (dedup text primary key, received_ms integer not null) without rowid;
create index inbound_seen_age on inbound_seen (received_ms);

create table endpoints (
  project text not null, id text not null, key_id text not null, sealed text not null, types text not null,
  description text not null, status text not null, reason text, cursor integer not null, failing_since_ms integer,
  created_ms integer not null, primary key (project, id)
) without rowid;
create table deliveries (
  project text not null, id text not null, endpoint text not null, event_seq integer not null, event_id text not null,
  type text not null, status text not null, tries integer not null, next_ms integer, http_status integer, error text,
  latency_ms integer, created_ms integer not null, updated_ms integer not null, primary key (project, id)
) without rowid;
create index deliveries_endpoint on deliveries (project, endpoint, id);
create index deliveries_due on deliveries (project, endpoint, next_ms) where next_ms is not null;

-- Providers declared over the API (the others are in tidings.toml), and who owns their binds.
create table providers (
  project text not null, id text not null, name text not null, type text not null, key_id text not null, sealed text not null,
  created_ms integer not null, primary key (project, id)
) without rowid;
create unique index providers_name on providers (name);
create table provider_states (name text primary key, paused integer not null) without rowid;
create table provider_leases (
  provider text not null, slot integer not null, node text not null, epoch integer not null, share real not null,
  until_ms integer not null, primary key (provider, slot)
) without rowid;
