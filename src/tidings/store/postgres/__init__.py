"""PostgreSQL through asyncpg: several nodes on one database, group commit on each."""
