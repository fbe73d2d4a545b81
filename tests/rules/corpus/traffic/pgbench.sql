-- pgbench, vacuumdb, reindexdb 15.18 on PostgreSQL 15
-- recorded from the server's log of statements on 2026-11-24

SELECT pg_catalog.set_config('search_path', '', false);
\g
CREATE DATABASE bench;
\g
drop table if exists pgbench_accounts, pgbench_branches, pgbench_history, pgbench_tellers
\g
create table pgbench_history(tid int,bid int,aid    int,delta int,mtime timestamp,filler char(22))
\g
create table pgbench_tellers(tid int not null,bid int,tbalance int,filler char(84)) with (fillfactor=100)
\g
create table pgbench_accounts(aid    int not null,bid int,abalance int,filler char(84)) with (fillfactor=100)
\g
create table pgbench_branches(bid int not null,bbalance int,filler char(88)) with (fillfactor=100)
\g
begin
\g
truncate table pgbench_accounts, pgbench_branches, pgbench_history, pgbench_tellers
\g
insert into pgbench_branches(bid,bbalance) values(1,0)
\g
insert into pgbench_tellers(tid,bid,tbalance) values (1,1,0)
\g
copy pgbench_accounts from stdin with (freeze on)
\g
commit
\g
vacuum analyze pgbench_branches
\g
vacuum analyze pgbench_tellers
\g
vacuum analyze pgbench_accounts
\g
vacuum analyze pgbench_history
\g
alter table pgbench_branches add primary key (bid)
\g
alter table pgbench_tellers add primary key (tid)
\g
alter table pgbench_accounts add primary key (aid)
\g
select count(*) from pgbench_branches
\g
select o.n, p.partstrat, pg_catalog.count(i.inhparent) from pg_catalog.pg_class as c join pg_catalog.pg_namespace as n on (n.oid = c.relnamespace) cross join lateral (select pg_catalog.array_position(pg_catalog.current_schemas(true), n.nspname)) as o(n) left join pg_catalog.pg_partitioned_table as p on (p.partrelid = c.oid) left join pg_catalog.pg_inherits as i on (c.oid = i.inhparent) where c.relname = 'pgbench_accounts' and o.n is not null group by 1, 2 order by 1 asc limit 1
\g
vacuum pgbench_branches
\g
vacuum pgbench_tellers
\g
truncate pgbench_history
\g
BEGIN;
\g
UPDATE pgbench_accounts SET abalance = abalance + 2324 WHERE aid = 72485;
\g
SELECT abalance FROM pgbench_accounts WHERE aid = 72485;
\g
UPDATE pgbench_tellers SET tbalance = tbalance + 2324 WHERE tid = 4;
\g
UPDATE pgbench_branches SET bbalance = bbalance + 2324 WHERE bid = 1;
\g
INSERT INTO pgbench_history (tid, bid, aid, delta, mtime) VALUES (4, 1, 72485, 2324, CURRENT_TIMESTAMP);
\g
END;
\g
SELECT abalance FROM pgbench_accounts WHERE aid = $1;
\bind '75873' \g
UPDATE pgbench_accounts SET abalance = abalance + $1 WHERE aid = $2;
\bind '-4949' '2936' \g
INSERT INTO pgbench_history (tid, bid, aid, delta, mtime) VALUES ($1, $2, $3, $4, CURRENT_TIMESTAMP);
\bind '9' '1' '2936' '-4949' \g
RESET search_path;
\g
WITH listed_tables (table_oid, column_list) AS (
  VALUES ('products'::pg_catalog.regclass, NULL::pg_catalog.text)
)
SELECT c.relname, ns.nspname, listed_tables.column_list FROM pg_catalog.pg_class c
 JOIN pg_catalog.pg_namespace ns ON c.relnamespace OPERATOR(pg_catalog.=) ns.oid
 LEFT JOIN pg_catalog.pg_class t ON c.reltoastrelid OPERATOR(pg_catalog.=) t.oid
 JOIN listed_tables ON listed_tables.table_oid OPERATOR(pg_catalog.=) c.oid
 WHERE c.relpersistence OPERATOR(pg_catalog.!=) 't'
 ORDER BY c.relpages DESC;
\g
VACUUM (ANALYZE) public.products;
\g
SELECT c.relname, ns.nspname
 FROM pg_catalog.pg_class c, pg_catalog.pg_namespace ns
 WHERE c.relnamespace OPERATOR(pg_catalog.=) ns.oid
  AND c.oid OPERATOR(pg_catalog.=) 'products'::pg_catalog.regclass;
\g
REINDEX TABLE public.products;
\g
