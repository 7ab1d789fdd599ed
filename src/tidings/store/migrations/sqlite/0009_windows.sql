-- When a person last wrote to us through a provider whose channel asks for it (WhatsApp: what may be sent depends on it).
create table windows (
  provider text not null, from_hash text not null, wrote_ms integer not null, primary key (provider, from_hash)
) without rowid;
create index windows_old on windows (wrote_ms);
