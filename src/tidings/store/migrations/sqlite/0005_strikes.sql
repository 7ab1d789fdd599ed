-- How often a worker ended, or lost the job, with it in hand (`rescues`); and how often it was alone in hand then, or made
-- a stage of the delivery path fail (`strikes`). tidings/delivery/quarantine.py says what follows.
alter table jobs add column rescues integer not null default 0;
alter table jobs add column strikes integer not null default 0;
