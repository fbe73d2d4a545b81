-- HikariCP 6.2.1: a pool's life (on PostgreSQL 18, by pgjdbc 42.7.4)
-- recorded from the server's log of statements on 2026-11-24

SELECT 1
\g
SHOW TRANSACTION ISOLATION LEVEL
\g
SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL REPEATABLE READ
\g
SET SESSION search_path TO 'public'
\g
SET TIME ZONE 'UTC'
\g
BEGIN READ ONLY
\g
select 1
\g
COMMIT
\g
