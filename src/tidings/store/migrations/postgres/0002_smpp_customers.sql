-- The SMPP server for customers: see SQLite's step of the same name.
create index keys_smpp on keys (right(id, 15));

create table smpp_customers (
  key text collate "C" primary key, project text collate "C" not null, cursor bigint not null,
  owner text not null default '', until_ms bigint not null default 0, created_ms bigint not null
);

create table smpp_parts (
  project text collate "C" not null, id text collate "C" not null, key text collate "C" not null,
  whole text collate "C" not null, grp text collate "C" not null, total integer not null, part integer not null,
  content text not null, key_id text not null, sealed text not null, received_ms bigint not null,
  closed boolean not null default false, message text collate "C",
  primary key (project, id)
);
create index smpp_parts_open on smpp_parts (key, grp) where not closed;
create index smpp_parts_whole on smpp_parts (whole, part);
create index smpp_parts_unsent on smpp_parts (received_ms) where message is null;
create index smpp_parts_age on smpp_parts (received_ms);
