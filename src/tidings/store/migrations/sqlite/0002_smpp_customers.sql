-- The SMPP server for customers. A key binds under the end of its id (domain/smpp_login.py).
create index keys_smpp on keys (substr(id, -15));

-- How far the event log was handed to a key's receivers, and which process does that until when.
create table smpp_customers (
  key text primary key, project text not null, cursor integer not null, owner text not null default '',
  until_ms integer not null default 0, created_ms integer not null
) without rowid;

-- Parts of long messages, kept until their siblings come; afterwards their ids lead to the message. `closed`: no part is
-- waited for any more. `message` is null until the whole was accepted, '-' where it was given up.
create table smpp_parts (
  project text not null, id text not null, key text not null, whole text not null, grp text not null, total integer not null,
  part integer not null, content text not null, key_id text not null, sealed text not null, received_ms integer not null,
  closed integer not null default 0, message text,
  primary key (project, id)
) without rowid;
create index smpp_parts_open on smpp_parts (key, grp, closed) where closed = 0;
create index smpp_parts_whole on smpp_parts (whole, part);
create index smpp_parts_unsent on smpp_parts (received_ms) where message is null;
create index smpp_parts_age on smpp_parts (received_ms);
