-- The carrier's ids beside the attempt, in part order: what query_sm asks for when a receipt never came.
alter table attempts add column refs text;
