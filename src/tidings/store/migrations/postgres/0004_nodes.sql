-- The processes that may own binds, and the state of links as their owners see it: what an API process shows.
create table nodes (node text collate "C" primary key, until_ms bigint not null);
create table link_states (
  provider text collate "C" primary key, node text collate "C" not null, links text not null, at_ms bigint not null
);
