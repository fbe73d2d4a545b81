-- Active Record 6.1.7.10 on PostgreSQL 18, simple statements: a migration, the schema dumper, relations, locks, metadata
-- recorded from the server's log of statements on 2026-11-24

SET client_min_messages TO 'warning'
\g
SET standard_conforming_strings = on
\g
SET intervalstyle = iso_8601
\g
SET SESSION statement_timeout TO 9000
\g
SET SESSION timezone TO 'UTC'
\g
SELECT t.oid, t.typname
FROM pg_type as t
WHERE t.typname IN ('int2', 'int4', 'int8', 'oid', 'float4', 'float8', 'numeric', 'bool', 'timestamp', 'timestamptz')
\g
SELECT t.oid, t.typname, t.typelem, t.typdelim, t.typinput, r.rngsubtype, t.typtype, t.typbasetype
FROM pg_type as t
LEFT JOIN pg_range as r ON oid = rngtypid
WHERE
  t.typname IN ('int2', 'int4', 'int8', 'oid', 'float4', 'float8', 'text', 'varchar', 'char', 'name', 'bpchar', 'bool', 'bit', 'varbit', 'timestamptz', 'date', 'money', 'bytea', 'point', 'hstore', 'json', 'jsonb', 'cidr', 'inet', 'uuid', 'xml', 'tsvector', 'macaddr', 'citext', 'ltree', 'line', 'lseg', 'box', 'path', 'polygon', 'circle', 'time', 'timestamp', 'numeric', 'interval')
  OR t.typtype IN ('r', 'e', 'd')
  OR t.typinput = 'array_in(cstring,oid,integer)'::regprocedure
  OR t.typelem != 0
\g
SHOW TIME ZONE
\g
SELECT 1
\g
SELECT c.relname FROM pg_class c LEFT JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = ANY (current_schemas(false)) AND c.relname = 'schema_migrations' AND c.relkind IN ('r','p')
\g
CREATE TABLE "schema_migrations" ("version" character varying NOT NULL PRIMARY KEY)
\g
CREATE TABLE "ar_internal_metadata" ("key" character varying NOT NULL PRIMARY KEY, "value" character varying, "created_at" timestamp(6) NOT NULL, "updated_at" timestamp(6) NOT NULL)
\g
SELECT a.attname, format_type(a.atttypid, a.atttypmod),
       pg_get_expr(d.adbin, d.adrelid), a.attnotnull, a.atttypid, a.atttypmod,
       c.collname, col_description(a.attrelid, a.attnum) AS comment
  FROM pg_attribute a
  LEFT JOIN pg_attrdef d ON a.attrelid = d.adrelid AND a.attnum = d.adnum
  LEFT JOIN pg_type t ON a.atttypid = t.oid
  LEFT JOIN pg_collation c ON a.attcollation = c.oid AND a.attcollation <> t.typcollation
 WHERE a.attrelid = '"schema_migrations"'::regclass
   AND a.attnum > 0 AND NOT a.attisdropped
 ORDER BY a.attnum
\g
SELECT c.relname FROM pg_class c LEFT JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = ANY (current_schemas(false)) AND c.relkind IN ('r','v','m','p','f')
\g
BEGIN
\g
INSERT INTO "schema_migrations" ("version") VALUES ('1') RETURNING "version"
\g
COMMIT
\g
SELECT 'jsonb'::regtype::oid
\g
CREATE TABLE "authors" ("id" bigserial primary key, "name" character varying NOT NULL, "meta" jsonb DEFAULT '{}', "created_at" timestamp(6) NOT NULL, "updated_at" timestamp(6) NOT NULL)
\g
SHOW max_identifier_length
\g
CREATE UNIQUE INDEX "index_authors_on_name" ON "authors" ("name")
\g
CREATE TABLE "books" ("id" bigserial primary key, "author_id" bigint, "title" character varying, "price" decimal(8,2), "tags" text[] DEFAULT '{}', "during" tsrange, "out" boolean DEFAULT FALSE, "created_at" timestamp(6) NOT NULL, "updated_at" timestamp(6) NOT NULL, CONSTRAINT "fk_rails_53d51ce16a"
FOREIGN KEY ("author_id")
  REFERENCES "authors" ("id")
 ON DELETE CASCADE)
\g
CREATE INDEX "index_books_on_author_id" ON "books" ("author_id")
\g
CREATE INDEX "index_books_on_title_and_price" ON "books" ("title", "price") WHERE out
\g
ALTER TABLE "books" ADD "pages" integer
\g
ALTER TABLE "books" RENAME COLUMN "pages" TO "page_count"
\g
SELECT distinct i.relname, d.indisunique, d.indkey, pg_get_indexdef(d.indexrelid), t.oid,
                pg_catalog.obj_description(i.oid, 'pg_class') AS comment
FROM pg_class t
INNER JOIN pg_index d ON t.oid = d.indrelid
INNER JOIN pg_class i ON d.indexrelid = i.oid
LEFT JOIN pg_namespace n ON n.oid = i.relnamespace
WHERE i.relkind IN ('i', 'I')
  AND d.indisprimary = 'f'
  AND t.relname = 'books'
  AND n.nspname = ANY (current_schemas(false))
ORDER BY i.relname
\g
SELECT a.attnum, a.attname
FROM pg_attribute a
WHERE a.attrelid = 18234
AND a.attnum IN (2)
\g
SELECT a.attnum, a.attname
FROM pg_attribute a
WHERE a.attrelid = 18234
AND a.attnum IN (3,4)
\g
UPDATE "books" SET "title"='x' WHERE "title" IS NULL
\g
ALTER TABLE "books" ALTER COLUMN "title" SET NOT NULL
\g
ALTER TABLE "books" ADD CONSTRAINT pos CHECK (price > 0)
\g
ALTER TABLE "books" ALTER COLUMN "page_count" TYPE bigint
\g
ALTER TABLE "books" ALTER COLUMN "page_count" SET DEFAULT 1
\g
COMMENT ON TABLE "books" IS 'b'
\g
SELECT c.relname FROM pg_class c LEFT JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = ANY (current_schemas(false)) AND c.relname = 'authors' AND c.relkind IN ('r','v','m','p','f')
\g
SELECT a.attname
  FROM (
         SELECT indrelid, indkey, generate_subscripts(indkey, 1) idx
           FROM pg_index
          WHERE indrelid = '"authors"'::regclass
            AND indisprimary
       ) i
  JOIN pg_attribute a
    ON a.attrelid = i.indrelid
   AND a.attnum = i.indkey[i.idx]
 ORDER BY i.idx
\g
INSERT INTO "authors" ("name", "meta", "created_at", "updated_at") VALUES ('A960576767', '{"x":1}', '2026-11-24 09:32:19.127754', '2026-11-24 09:32:19.127754') RETURNING "id"
\g
INSERT INTO "books" ("author_id", "title", "price", "tags", "created_at", "updated_at") VALUES (1, 'T', 3.0, '{a}', '2026-11-24 09:32:19.176361', '2026-11-24 09:32:19.176361') RETURNING "id"
\g
INSERT INTO "books" ("title","price","created_at","updated_at") VALUES ('U', 2.0, '2026-11-24 09:32:19.183809', '2026-11-24 09:32:19.183810') ON CONFLICT  DO NOTHING RETURNING "id"
\g
INSERT INTO "books" ("id","title","price","created_at","updated_at") VALUES (1, 'V', 2.0, '2026-11-24 09:32:19.192854', '2026-11-24 09:32:19.192855') ON CONFLICT ("id") DO UPDATE SET "title"=excluded."title","price"=excluded."price","created_at"=excluded."created_at","updated_at"=excluded."updated_at" RETURNING "id"
\g
SELECT DISTINCT "authors"."name" AS alias_0, "authors"."id" FROM "authors" LEFT OUTER JOIN "books" ON "books"."author_id" = "authors"."id" WHERE "books"."out" = FALSE ORDER BY "authors"."name" ASC LIMIT 3
\g
SELECT "authors"."id" AS t0_r0, "authors"."name" AS t0_r1, "authors"."meta" AS t0_r2, "authors"."created_at" AS t0_r3, "authors"."updated_at" AS t0_r4, "books"."id" AS t1_r0, "books"."author_id" AS t1_r1, "books"."title" AS t1_r2, "books"."price" AS t1_r3, "books"."tags" AS t1_r4, "books"."during" AS t1_r5, "books"."out" AS t1_r6, "books"."created_at" AS t1_r7, "books"."updated_at" AS t1_r8, "books"."page_count" AS t1_r9 FROM "authors" LEFT OUTER JOIN "books" ON "books"."author_id" = "authors"."id" WHERE "books"."out" = FALSE AND "authors"."id" = 1 ORDER BY "authors"."name" ASC
\g
SELECT COUNT(*) AS count_all, "authors"."name" AS authors_name FROM "authors" INNER JOIN "books" ON "books"."author_id" = "authors"."id" GROUP BY "authors"."name" HAVING (count(books.id)>0)
\g
SELECT "authors".* FROM "authors" ORDER BY "authors"."id" ASC LIMIT 1
\g
SELECT "books".* FROM "books" WHERE "books"."author_id" = 1
\g
SELECT "authors".* FROM "authors" WHERE "authors"."id" = 1 LIMIT 1
\g
SELECT "authors".* FROM "authors" WHERE "authors"."name" = 'zz' LIMIT 1
\g
SELECT 1 AS one FROM "authors" WHERE "authors"."name" IN ('a', 'b') LIMIT 1
\g
SELECT "authors"."id", "authors"."name" FROM "authors" WHERE "authors"."id" != 5
\g
SELECT "authors".* FROM "authors" WHERE "authors"."id" = 1 LIMIT 1 FOR UPDATE
\g
UPDATE "authors" SET "updated_at" = '2026-11-24 09:32:19.280104' WHERE "authors"."id" = 1
\g
SELECT SUM("books"."price") FROM "books"
\g
SELECT AVG("books"."price") FROM "books"
\g
SELECT MAX("books"."id") FROM "books"
\g
SELECT COUNT(DISTINCT "books"."author_id") FROM "books"
\g
SELECT "books".* FROM "books" WHERE (tags @> ARRAY['a']::text[])
\g
UPDATE "authors" SET "updated_at" = '2026-11-24 09:32:19.320045', "name" = 'A960576767b' WHERE "authors"."id" = 1
\g
UPDATE "books" SET price = price + 1
\g
DELETE FROM "books" WHERE "books"."id" = 9999
\g
DELETE FROM "authors" WHERE "authors"."id" = 1
\g
SELECT "books".* FROM "books"
\g
EXPLAIN SELECT "books".* FROM "books"
\g
SELECT "books".* FROM "books" WHERE "books"."created_at" BETWEEN '2026-11-23 09:32:19.349201' AND '2026-11-24 09:32:19.349275' ORDER BY "books"."id" DESC LIMIT 1
\g
SELECT "books".* FROM "books" ORDER BY "books"."id" ASC LIMIT 1 FOR UPDATE SKIP LOCKED
\g
SELECT "books".* FROM "books" ORDER BY random() LIMIT 1
\g
select * from books limit 2
\g
select 1
\g
SELECT c.relname FROM pg_class c LEFT JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = ANY (current_schemas(false)) AND c.relkind IN ('v','m')
\g
SELECT t2.oid::regclass::text AS to_table, a1.attname AS column, a2.attname AS primary_key, c.conname AS name, c.confupdtype AS on_update, c.confdeltype AS on_delete, c.convalidated AS valid
FROM pg_constraint c
JOIN pg_class t1 ON c.conrelid = t1.oid
JOIN pg_class t2 ON c.confrelid = t2.oid
JOIN pg_attribute a1 ON a1.attnum = c.conkey[1] AND a1.attrelid = t1.oid
JOIN pg_attribute a2 ON a2.attnum = c.confkey[1] AND a2.attrelid = t2.oid
JOIN pg_namespace t3 ON c.connamespace = t3.oid
WHERE c.contype = 'f'
  AND t1.relname = 'books'
  AND t3.nspname = ANY (current_schemas(false))
ORDER BY c.conname
\g
            SELECT conname, pg_get_constraintdef(c.oid) AS constraintdef, c.convalidated AS valid
            FROM pg_constraint c
            JOIN pg_class t ON c.conrelid = t.oid
            WHERE c.contype = 'c'
              AND t.relname = 'books'
\g
SELECT extname FROM pg_extension
\g
SELECT nspname
  FROM pg_namespace
 WHERE nspname !~ '^pg_.*'
   AND nspname NOT IN ('information_schema')
 ORDER by nspname;
\g
SELECT current_schema
\g
SELECT datcollate FROM pg_database WHERE datname = current_database()
\g
SELECT pg_encoding_to_char(encoding) FROM pg_database WHERE datname = current_database()
\g
SELECT datctype FROM pg_database WHERE datname = current_database()
\g
SELECT pg_catalog.obj_description(c.oid, 'pg_class')
FROM pg_catalog.pg_class c
  LEFT JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relname = 'books'
  AND c.relkind IN ('r','p')
  AND n.nspname = ANY (current_schemas(false))
\g
SELECT COUNT(*)
FROM pg_class t
INNER JOIN pg_index d ON t.oid = d.indrelid
INNER JOIN pg_class i ON d.indexrelid = i.oid
LEFT JOIN pg_namespace n ON n.oid = i.relnamespace
WHERE i.relkind IN ('i', 'I')
  AND i.relname = 'x'
  AND t.relname = 'books'
  AND n.nspname = ANY (current_schemas(false))
\g
SELECT pg_try_advisory_lock(7)
\g
SELECT pg_advisory_unlock(7)
\g
SELECT true FROM pg_available_extensions WHERE name = 'pg_hint_plan'
\g
SET SESSION AUTHORIZATION DEFAULT
\g
SHOW client_min_messages
\g
DISCARD ALL
\g
SELECT "schema_migrations"."version" FROM "schema_migrations" ORDER BY "schema_migrations"."version" ASC
\g
DROP TABLE "books"
\g
DROP TABLE "authors"
\g
SELECT attr.attname, nsp.nspname, seq.relname
FROM pg_class      seq,
     pg_attribute  attr,
     pg_depend     dep,
     pg_constraint cons,
     pg_namespace  nsp
WHERE seq.oid           = dep.objid
  AND seq.relkind       = 'S'
  AND attr.attrelid     = dep.refobjid
  AND attr.attnum       = dep.refobjsubid
  AND attr.attrelid     = cons.conrelid
  AND attr.attnum       = cons.conkey[1]
  AND seq.relnamespace  = nsp.oid
  AND cons.contype      = 'p'
  AND dep.classid       = 'pg_class'::regclass
  AND dep.refobjid      = '"x"'::regclass
\g
SELECT attr.attname, nsp.nspname,
  CASE
    WHEN pg_get_expr(def.adbin, def.adrelid) !~* 'nextval' THEN NULL
    WHEN split_part(pg_get_expr(def.adbin, def.adrelid), '''', 2) ~ '.' THEN
      substr(split_part(pg_get_expr(def.adbin, def.adrelid), '''', 2),
             strpos(split_part(pg_get_expr(def.adbin, def.adrelid), '''', 2), '.')+1)
    ELSE split_part(pg_get_expr(def.adbin, def.adrelid), '''', 2)
  END
FROM pg_class       t
JOIN pg_attribute   attr ON (t.oid = attrelid)
JOIN pg_attrdef     def  ON (adrelid = attrelid AND adnum = attnum)
JOIN pg_constraint  cons ON (conrelid = adrelid AND adnum = conkey[1])
JOIN pg_namespace   nsp  ON (t.relnamespace = nsp.oid)
WHERE t.oid = '"ar_internal_metadata"'::regclass
  AND cons.contype = 'p'
  AND pg_get_expr(def.adbin, def.adrelid) ~* 'nextval|uuid_generate'
\g
SET search_path TO crm,public
\g
SELECT "customers".* FROM "customers" WHERE "customers"."id" = $1 LIMIT $2
\bind '5' '1' \g
SELECT "customers".* FROM "customers" WHERE "customers"."id" IN ($1, $2, $3)
\bind '1' '2' '3' \g
SELECT "customers".* FROM "customers" ORDER BY "customers"."created_at" DESC LIMIT $1
\bind '20' \g
SELECT COUNT(*) AS count_all, "customers"."country" AS customers_country FROM "customers" GROUP BY "customers"."country"
\g
SELECT "orders".* FROM "orders" WHERE "orders"."customer_id" = $1
\bind '9' \g
SELECT "orders".* FROM "orders" WHERE "orders"."id" = $1 LIMIT $2
\bind '3' '1' \g
SELECT "customers".* FROM "customers" WHERE "customers"."id" = $1
\bind '4' \g
SELECT 1 AS one FROM "customers" WHERE "customers"."email" = $1 LIMIT $2
\bind 'x' '1' \g
SELECT "customers".* FROM "customers" WHERE "customers"."email" = $1 LIMIT $2
\bind 'cust3@pii.example' '1' \g
SELECT SUM("orders"."amount") FROM "orders" INNER JOIN "customers" ON "customers"."id" = "orders"."customer_id" WHERE "customers"."country" = $1
\bind 'NO' \g
SELECT "customers"."id", "customers"."tier" FROM "customers" WHERE "customers"."tier" = $1
\bind 'gold' \g
SELECT "customers".* FROM "customers" ORDER BY "customers"."id" ASC LIMIT $1
\bind '1' \g
SELECT COUNT(*) FROM "customers"
\g
