-- node-postgres 8.23.1 on PostgreSQL 18: pools, cursors, streams
-- recorded from the server's log of statements on 2026-11-24

SELECT NOW()
\g
SELECT $1::text as m
\bind 'x' \g
SELECT id, name FROM products WHERE id = $1
\bind '1' \g
BEGIN
\g
INSERT INTO regions(id,name) VALUES($1,$2) RETURNING id
\bind '90' 'x' \g
ROLLBACK
\g
SELECT id FROM products WHERE id > $1
\bind '2' \g
SELECT id FROM products
\g
