-- What Metabase asks, in our own words: its look-ups while it learns a database, and questions built by clicking
-- written by hand and run on PostgreSQL 18 on 2026-11-24

SELECT version()
\g
SET SESSION TIME ZONE 'UTC'
\g
SHOW timezone
\g
SELECT n.nspname AS schema, t.typname AS enum_type, e.enumlabel AS value FROM pg_type t JOIN pg_enum e ON t.oid = e.enumtypid JOIN pg_namespace n ON n.oid = t.typnamespace
\g
SELECT n.nspname AS "schema", c.relname AS "name", CASE c.relkind WHEN 'r' THEN 'TABLE' WHEN 'p' THEN 'PARTITIONED TABLE' WHEN 'v' THEN 'VIEW' WHEN 'f' THEN 'FOREIGN TABLE' WHEN 'm' THEN 'MATERIALIZED VIEW' END AS "type", d.description, c.reltuples::bigint AS estimated_row_count FROM pg_catalog.pg_class c INNER JOIN pg_catalog.pg_namespace n ON c.relnamespace = n.oid LEFT JOIN pg_catalog.pg_description d ON c.oid = d.objoid AND d.objsubid = 0 AND d.classoid = 'pg_class'::regclass WHERE c.relnamespace = n.oid AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' AND c.relkind IN ('r', 'p', 'v', 'f', 'm') ORDER BY "type", "schema", "name"
\g
WITH table_privileges AS (SELECT NULL AS role, t.schemaname AS schema, t.objectname AS table, pg_catalog.has_any_column_privilege(current_user, '"' || replace(t.schemaname, '"', '""') || '"' || '.' || '"' || replace(t.objectname, '"', '""') || '"', 'update') AS update, pg_catalog.has_any_column_privilege(current_user, '"' || replace(t.schemaname, '"', '""') || '".' || quote_ident(t.objectname), 'select') AS select, pg_catalog.has_table_privilege(current_user, quote_ident(t.schemaname) || '.' || quote_ident(t.objectname), 'delete') AS delete FROM (SELECT schemaname, tablename AS objectname FROM pg_catalog.pg_tables UNION SELECT schemaname, viewname FROM pg_catalog.pg_views UNION SELECT schemaname, matviewname FROM pg_catalog.pg_matviews) t WHERE t.schemaname !~ '^pg_' AND t.schemaname <> 'information_schema' AND pg_catalog.has_schema_privilege(current_user, t.schemaname, 'usage')) SELECT t.* FROM table_privileges t
\g
SELECT TRUE AS "_" FROM "crm"."customers" WHERE 1 <> 1 LIMIT 0
\g
SELECT TRUE AS "_" FROM "public"."products" WHERE 1 <> 1 LIMIT 0
\g
SELECT c.column_name AS name, CASE WHEN c.udt_schema IN ('public', 'pg_catalog') THEN FORMAT('%s', c.udt_name) ELSE FORMAT('"%s"."%s"', c.udt_schema, c.udt_name) END AS "database-type", c.ordinal_position - 1 AS "database-position", c.table_schema AS "table-schema", c.table_name AS "table-name", pk.column_name IS NOT NULL AS pk, col_description(CAST(CAST(FORMAT('%I.%I', CAST(c.table_schema AS TEXT), CAST(c.table_name AS TEXT)) AS REGCLASS) AS OID), c.ordinal_position) AS "field-comment" FROM information_schema.columns AS c LEFT JOIN (SELECT tc.table_schema, tc.table_name, kc.column_name FROM information_schema.table_constraints AS tc INNER JOIN information_schema.key_column_usage AS kc ON tc.constraint_name = kc.constraint_name AND tc.table_schema = kc.table_schema WHERE tc.constraint_type = 'PRIMARY KEY') AS pk ON c.table_schema = pk.table_schema AND c.table_name = pk.table_name AND c.column_name = pk.column_name WHERE c.table_schema !~ '^information_schema|catalog_history|pg_' AND c.table_schema IN ('crm', 'public') ORDER BY "table-schema", "table-name", "database-position"
\g
SELECT fk_ns.nspname AS "fk-table-schema", fk_table.relname AS "fk-table-name", fk_column.attname AS "fk-column-name", pk_ns.nspname AS "pk-table-schema", pk_table.relname AS "pk-table-name", pk_column.attname AS "pk-column-name" FROM pg_constraint AS c JOIN pg_class AS fk_table ON c.conrelid = fk_table.oid JOIN pg_namespace AS fk_ns ON c.connamespace = fk_ns.oid JOIN pg_attribute AS fk_column ON c.conrelid = fk_column.attrelid JOIN pg_class AS pk_table ON c.confrelid = pk_table.oid JOIN pg_namespace AS pk_ns ON pk_table.relnamespace = pk_ns.oid JOIN pg_attribute AS pk_column ON c.confrelid = pk_column.attrelid WHERE c.contype = 'f' AND fk_column.attnum = ANY (c.conkey) AND pk_column.attnum = ANY (c.confkey) AND fk_ns.nspname !~ '^pg_' ORDER BY 1, 2
\g
SELECT tmp."table-schema", tmp."table-name", trim(BOTH '"' FROM pg_catalog.pg_get_indexdef(tmp.ci_oid, tmp.pos, false)) AS "field-name" FROM (SELECT n.nspname AS "table-schema", ct.relname AS "table-name", ci.oid AS ci_oid, (information_schema._pg_expandarray(i.indkey)).n AS pos FROM pg_catalog.pg_class AS ct JOIN pg_catalog.pg_namespace AS n ON ct.relnamespace = n.oid JOIN pg_catalog.pg_index AS i ON ct.oid = i.indrelid JOIN pg_catalog.pg_class AS ci ON ci.oid = i.indexrelid WHERE pg_get_expr(i.indpred, i.indrelid) IS NULL AND n.nspname !~ '^information_schema|pg_') AS tmp WHERE tmp.pos = 1
\g
SELECT "public"."products"."id" AS "id", SUBSTRING("public"."products"."name", 1, 1234) AS "substring1", "public"."products"."price" AS "price" FROM "public"."products" LIMIT 10000
\g
SELECT COUNT(*) AS "count" FROM "crm"."customers"
\g
SELECT COUNT(DISTINCT "crm"."customers"."country") AS "count" FROM "crm"."customers"
\g
SELECT "crm"."customers"."country" AS "country", COUNT(*) AS "count" FROM "crm"."customers" GROUP BY "crm"."customers"."country" ORDER BY "count" DESC, "crm"."customers"."country" ASC LIMIT 2000
\g
SELECT "public"."products"."name" AS "name" FROM "public"."products" GROUP BY "public"."products"."name" ORDER BY "public"."products"."name" ASC LIMIT 1000
\g
SELECT CAST(DATE_TRUNC('month', "crm"."orders"."created_at") AS DATE) AS "created_at", SUM("crm"."orders"."amount") AS "sum" FROM "crm"."orders" GROUP BY CAST(DATE_TRUNC('month', "crm"."orders"."created_at") AS DATE) ORDER BY CAST(DATE_TRUNC('month', "crm"."orders"."created_at") AS DATE) ASC
\g
SELECT "source"."tier" AS "tier", AVG("source"."amount") AS "avg" FROM (SELECT "crm"."orders"."amount" AS "amount", "Customers"."tier" AS "tier" FROM "crm"."orders" LEFT JOIN "crm"."customers" AS "Customers" ON "crm"."orders"."customer_id" = "Customers"."id" WHERE "crm"."orders"."created_at" >= timestamp with time zone '2026-01-01 00:00:00.000Z') AS "source" GROUP BY "source"."tier" ORDER BY "source"."tier" ASC
\g
SELECT FLOOR(("public"."products"."price" / 10.0)) * 10.0 AS "price", COUNT(*) AS "count" FROM "public"."products" WHERE ("public"."products"."stock" > 3) AND (LOWER("public"."products"."name") LIKE '%product%') GROUP BY FLOOR(("public"."products"."price" / 10.0)) * 10.0 ORDER BY FLOOR(("public"."products"."price" / 10.0)) * 10.0 ASC
\g
SELECT percentile_cont(0.9) WITHIN GROUP (ORDER BY "crm"."orders"."amount") AS "p90", STDDEV_POP("crm"."orders"."amount") AS "sd", SUM(CASE WHEN "crm"."orders"."amount" > 5 THEN 1 ELSE 0.0 END) / CASE WHEN COUNT(*) = 0 THEN NULL ELSE COUNT(*) END AS "share" FROM "crm"."orders"
\g
SELECT "crm"."customers"."id" AS "id", "crm"."customers"."tier" AS "tier", "crm"."customers"."created_at" AS "created_at" FROM "crm"."customers" LIMIT 1048575
\g
SELECT (ARRAY_AGG("public"."products"."attrs"#>>array['color']::text[]))[1] AS "c", MIN(("public"."products"."attrs"#>>array['w']::text[])::bigint) AS "m" FROM "public"."products"
\g
SELECT DISTINCT jsonb_typeof("public"."products"."attrs") FROM "public"."products" LIMIT 100
\g
