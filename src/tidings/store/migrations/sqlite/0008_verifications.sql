-- One-time codes. `code_hash` is a keyed hash; the code itself is nowhere but sealed in the message that carries it.
create table verifications (
  project text not null, id text not null, mode text not null, status text not null, channel text not null,
  channels text not null, country text, locale text, reference text, code_hash text not null, code_length integer not null,
  attempts integer not null default 0, max_attempts integer not null, sends integer not null default 1,
  created_ms integer not null, sent_ms integer not null, expires_ms integer not null, ended_ms integer, reason text,
  primary key (project, id)
) without rowid;
create index verifications_expire on verifications (expires_ms) where status = 'pending';
create index verifications_reference on verifications (project, reference, id) where reference is not null;

-- What verifications are counted by (policy/velocity.py): `mark` is a keyed hash (kinds `to`, `ip`) or the begin of a number
-- (`block`, `range`). Rows are removed when no window reaches them any more.
create table verification_marks (
  project text not null, mode text not null, kind text not null, mark text not null, created_ms integer not null,
  verification text not null,
  primary key (project, mode, kind, mark, created_ms, verification)
) without rowid;
create index verification_marks_age on verification_marks (created_ms);

-- Numbers that an operator vouches for.
create table verification_prefixes (
  project text not null, prefix text not null, created_ms integer not null, primary key (project, prefix)
) without rowid;
