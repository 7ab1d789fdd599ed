-- A message with several channels: the channels, the conditions of its fallback, and which one is tried now (JSON).
alter table messages add column chain text;
alter table messages add column clicked_ms bigint;
alter table messages add column complained_ms bigint;
-- A job of kind `fallback` waits for the moment at which the next channel is tried, and belongs to no provider.
create index jobs_fallback on jobs (due_ms) where kind = 'fallback';
