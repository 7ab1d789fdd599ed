-- One-time codes: see SQLite's step of the same name. Pending rows are written a few times: room for updates in place.
create table verifications (
  project text collate "C" not null, id text collate "C" not null, mode text not null, status text not null,
  channel text not null, channels text not null, country text, locale text, reference text collate "C",
  code_hash text not null, code_length integer not null, attempts integer not null default 0,
  max_attempts integer not null, sends integer not null default 1, created_ms bigint not null, sent_ms bigint not null,
  expires_ms bigint not null, ended_ms bigint, reason text,
  primary key (project, id)
) with (fillfactor = 80);
create index verifications_expire on verifications (expires_ms) where status = 'pending';
create index verifications_reference on verifications (reference, id) where reference is not null;

create table verification_marks (
  project text collate "C" not null, mode text collate "C" not null, kind text collate "C" not null,
  mark text collate "C" not null, created_ms bigint not null, verification text collate "C" not null,
  primary key (project, mode, kind, mark, created_ms, verification)
);
create index verification_marks_age on verification_marks (created_ms);

create table verification_prefixes (
  project text collate "C" not null, prefix text collate "C" not null, created_ms bigint not null,
  primary key (project, prefix)
);
