-- The processes that may own binds, and the state of links as their owners see it: what an API process shows.
create table nodes (node text primary key, until_ms integer not null) without rowid;
create table link_states (provider text primary key, node text not null, links text not null, at_ms integer not null)
  without rowid;
