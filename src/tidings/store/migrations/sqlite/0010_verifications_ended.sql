-- Verifications that ended long ago are removed, the oldest first.
create index verifications_ended on verifications (ended_ms) where ended_ms is not null;
