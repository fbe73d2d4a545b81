-- Knex 3.3.0 on PostgreSQL 18: migrations, schema look-ups, queries
-- recorded from the server's log of statements on 2026-11-24

select version();
\g
set search_path to "public"
\g
select * from information_schema.tables where table_name = $1 and table_schema = current_schema()
\bind 'knex_migrations' \g
create table "knex_migrations" ("id" serial primary key, "name" varchar(255), "batch" integer, "migration_time" timestamptz)
\g
create table "knex_migrations_lock" ("index" serial primary key, "is_locked" integer)
\g
select * from "knex_migrations_lock"
\g
insert into "knex_migrations_lock" ("is_locked") values ($1)
\bind '0' \g
select "name" from "knex_migrations" order by "id" asc
\g
BEGIN;
\g
update "knex_migrations_lock" set "is_locked" = $1 where "is_locked" = $2
\bind '1' '0' \g
select max("batch") as "max_batch" from "knex_migrations"
\g
create type "kst" as enum ('a', 'b')
\g
create table "kn" ("id" serial primary key, "name" varchar(255) not null, "meta" jsonb, "created_at" timestamptz not null default CURRENT_TIMESTAMP, "updated_at" timestamptz not null default CURRENT_TIMESTAMP, "st" "kst", "u" uuid default gen_random_uuid())
\g
alter table "kn" add constraint "kn_name_unique" unique ("name")
\g
alter table "kn" add column "n" integer
\g
alter table "kn" alter column "name" drop default
\g
alter table "kn" alter column "name" drop not null
\g
alter table "kn" alter column "name" type varchar(50) using ("name"::varchar(50))
\g
create index "kn_n_index" on "kn" ("n")
\g
alter table "kn" rename "meta" to "meta2"
\g
insert into "knex_migrations" ("batch", "migration_time", "name") values ($1, $2, $3)
\bind '1' '2026-11-24 09:34:46.59+00' '1_a.js' \g
update "knex_migrations_lock" set "is_locked" = $1
\bind '0' \g
COMMIT;
\g
select * from "knex_migrations"
\g
select * from information_schema.columns where table_name = $1 and column_name = $2 and table_schema = current_schema()
\bind 'kn' 'name' \g
select * from information_schema.columns where table_name = $1 and table_catalog = current_database() and table_schema = current_schema()
\bind 'kn' \g
insert into "kn" ("name", "st") values ($1, $2), ($3, $4) returning "id"
\bind 'a' 'a' 'b' 'b' \g
insert into "kn" ("name", "st") values ($1, $2) on conflict ("name") do update set "name" = excluded."name", "st" = excluded."st"
\bind 'a' 'a' \g
select * from "kn" where "name" like $1 or "id" in ($2, $3) and ("n" is null) order by "id" desc limit $4 offset $5
\bind 'a%' '1' '2' '5' '1' \g
select count(*) as "n" from "kn" group by "st"
\g
select * from "kn" limit $1 for update
\bind '1' \g
update "kn" set "n" = "n" + 1 where "id" = $1
\bind '1' \g
SAVEPOINT trx4;
\g
ROLLBACK TO SAVEPOINT trx4
\g
select row_number() over (order by id) from "kn" where meta2->>'x' = $1
\bind '1' \g
with "w" as (select "id" from "kn") select distinct "id" from "w"
\g
delete from "kn" where "id" = $1
\bind '999' \g
truncate "kn" restart identity
\g
select * from "knex_migrations" where "batch" = (select max("batch") from "knex_migrations") order by "id" desc
\g
drop table "kn"
\g
drop type kst
\g
delete from "knex_migrations" where "name" = $1
\bind '1_a.js' \g
