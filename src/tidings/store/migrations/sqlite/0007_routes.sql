-- Routes made over the API (the others are in tidings.toml); `route` is JSON.
create table routes (
  project text not null, id text not null, name text not null, route text not null, created_ms integer not null,
  updated_ms integer not null, primary key (project, id)
) without rowid;
create unique index routes_name on routes (project, name);
-- What the owner of a place thinks of its carrier; absent: all is well.
create table provider_health (
  provider text not null, slot integer not null, share real not null, reason text not null, since_ms integer not null,
  primary key (provider, slot)
) without rowid;
-- Attempts whose message goes to another carrier unless a receipt comes before `due_ms`.
create table receipt_waits (
  project text not null, message text not null, attempt text not null, due_ms integer not null, primary key (project, message)
) without rowid;
create index receipt_waits_due on receipt_waits (due_ms);
-- A job of kind `again` sends a message that is sent, but without a receipt: it goes away when the receipt comes.
create index jobs_again on jobs (project, message) where kind = 'again';
-- Exact rates: when the next one may go (`next_us`), and how many went on a day.
create table paces (key text primary key, next_us integer not null, day integer not null, used integer not null) without rowid;
