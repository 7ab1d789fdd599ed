-- Routes made over the API (the others are in tidings.toml); `route` is JSON.
create table routes (
  project text collate "C" not null, id text collate "C" not null, name text collate "C" not null, route text not null, created_ms bigint not null,
  updated_ms bigint not null, primary key (project, id)
);
create unique index routes_name on routes (project, name);
-- What the owner of a place thinks of its carrier; absent: all is well.
create table provider_health (
  provider text collate "C" not null, slot integer not null, share double precision not null, reason text not null, since_ms bigint not null,
  primary key (provider, slot)
);
-- Attempts whose message goes to another carrier unless a receipt comes before `due_ms`.
create table receipt_waits (
  project text collate "C" not null, message text collate "C" not null, attempt text collate "C" not null, due_ms bigint not null, primary key (project, message)
);
create index receipt_waits_due on receipt_waits (due_ms);
-- A job of kind `again` sends a message that is sent, but without a receipt: it goes away when the receipt comes.
create index jobs_again on jobs (project, message) where kind = 'again';
-- Exact rates: when the next one may go (`next_us`), and how many went on a day.
create table paces (key text collate "C" primary key, next_us bigint not null, day integer not null, used bigint not null);
