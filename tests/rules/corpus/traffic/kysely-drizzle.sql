-- Kysely 0.28.18, Drizzle 0.45.4 on PostgreSQL 18: introspection, queries
-- recorded from the server's log of statements on 2026-11-24

select "a"."attname" as "column", "a"."attnotnull" as "not_null", "a"."atthasdef" as "has_default", "c"."relname" as "table", "c"."relkind" as "table_type", "ns"."nspname" as "schema", "typ"."typname" as "type", "dtns"."nspname" as "type_schema", col_description(a.attrelid, a.attnum) as "column_description", pg_get_serial_sequence(quote_ident(ns.nspname) || '.' || quote_ident(c.relname), a.attname) as "auto_incrementing" from "pg_catalog"."pg_attribute" as "a" inner join "pg_catalog"."pg_class" as "c" on "a"."attrelid" = "c"."oid" inner join "pg_catalog"."pg_namespace" as "ns" on "c"."relnamespace" = "ns"."oid" inner join "pg_catalog"."pg_type" as "typ" on "a"."atttypid" = "typ"."oid" inner join "pg_catalog"."pg_namespace" as "dtns" on "typ"."typnamespace" = "dtns"."oid" where "c"."relkind" in ($1, $2, $3) and "ns"."nspname" !~ $4 and "ns"."nspname" != $5 and "ns"."nspname" != $6 and has_schema_privilege(ns.nspname, 'USAGE') and "a"."attnum" >= $7 and "a"."attisdropped" != $8 order by "ns"."nspname", "c"."relname", "a"."attnum"
\bind 'r' 'v' 'p' '^pg_' 'information_schema' 'crdb_internal' '0' 't' \g
select "nspname" from "pg_catalog"."pg_namespace"
\g
select * from "products" where "id" in ($1, $2)
\bind '1' '2' \g
select "email" from "customers" where "id" = $1
\bind '5' \g
select "email" from "customers" limit $1
\bind '7' \g
select count(*) as "n", "country" from "customers" group by "country"
\g
start transaction isolation level serializable
\g
update "products" set "stock" = $1 where "id" = $2 returning "stock"
\bind '1' '3' \g
commit
\g
select "id", "name", "stock" from "products" where ("products"."stock" > $1 and "products"."name" like $2) order by "products"."id" limit $3
\bind '5' 'P%' '4' \g
select "id", "email", "country" from "customers" where "customers"."id" = $1
\bind '5' \g
select count(*) from "customers" where "customers"."country" = $1
\bind 'NO' \g
begin
\g
update "products" set "stock" = "products"."stock" + 1 where "products"."id" = $1 returning "id", "name", "stock"
\bind '1' \g
savepoint sp1
\g
select "id", "name", "stock" from "products" limit $1 for update
\bind '1' \g
release savepoint sp1
\g
