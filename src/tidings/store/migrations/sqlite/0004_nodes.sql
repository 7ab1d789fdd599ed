-- The processes that may own binds. `stamp` grows with every beat: who has watched it stand still for a whole term knows
-- that the node is dead, whatever the clocks say. `home` is the same for a process and the one started in its place.
create table nodes (node text primary key, home text not null, stamp integer not null, at_ms integer not null)
  without rowid;
-- The state of links as their owner sees it: what an API process shows.
create table link_states (
  provider text not null, slot integer not null, node text not null, links text not null, at_ms integer not null,
  primary key (provider, slot)
) without rowid;
-- Counts pauses and resumptions: an owner that sees it grow starts the provider anew.
alter table provider_states add column generation integer not null default 0;
