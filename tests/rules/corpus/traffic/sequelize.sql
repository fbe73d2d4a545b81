-- Sequelize 6.37.8 on PostgreSQL 18: sync, alter, associations, the query interface
-- recorded from the server's log of statements on 2026-11-24

SET client_min_messages TO warning;SET TIME ZONE INTERVAL '+00:00' HOUR TO MINUTE;
\g
WITH ranges AS (  SELECT pg_range.rngtypid, pg_type.typname AS rngtypname,         pg_type.typarray AS rngtyparray, pg_range.rngsubtype    FROM pg_range LEFT OUTER JOIN pg_type ON pg_type.oid = pg_range.rngtypid)SELECT pg_type.typname, pg_type.typtype, pg_type.oid, pg_type.typarray,       ranges.rngtypname, ranges.rngtypid, ranges.rngtyparray  FROM pg_type LEFT OUTER JOIN ranges ON pg_type.oid = ranges.rngsubtype WHERE (pg_type.typtype IN('b', 'e'));
\g
SELECT 1+1 AS result
\g
SELECT table_name FROM information_schema.tables WHERE table_schema = 'public' AND table_name = 'Authors'
\g
SELECT t.typname enum_name, array_agg(e.enumlabel ORDER BY enumsortorder) enum_value FROM pg_type t JOIN pg_enum e ON t.oid = e.enumtypid JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace WHERE n.nspname = 'public' AND t.typname='enum_Authors_kind' GROUP BY 1
\g
CREATE TABLE IF NOT EXISTS "Authors" ("id"   SERIAL , "name" VARCHAR(255) UNIQUE, "tags" TEXT[], "kind" "public"."enum_Authors_kind", "meta" JSONB, "createdAt" TIMESTAMP WITH TIME ZONE NOT NULL, "updatedAt" TIMESTAMP WITH TIME ZONE NOT NULL, "deletedAt" TIMESTAMP WITH TIME ZONE, PRIMARY KEY ("id"));
\g
SELECT i.relname AS name, ix.indisprimary AS primary, ix.indisunique AS unique, ix.indkey AS indkey, array_agg(a.attnum) as column_indexes, array_agg(a.attname) AS column_names, pg_get_indexdef(ix.indexrelid) AS definition FROM pg_class t, pg_class i, pg_index ix, pg_attribute a WHERE t.oid = ix.indrelid AND i.oid = ix.indexrelid AND a.attrelid = t.oid AND t.relkind = 'r' and t.relname = 'Authors' GROUP BY i.relname, ix.indexrelid, ix.indisprimary, ix.indisunique, ix.indkey ORDER BY i.relname;
\g
CREATE INDEX "authors_kind" ON "Authors" ("kind")
\g
CREATE TABLE IF NOT EXISTS "Books" ("id"   SERIAL , "title" VARCHAR(255), "price" DECIMAL(8,2), "createdAt" TIMESTAMP WITH TIME ZONE NOT NULL, "updatedAt" TIMESTAMP WITH TIME ZONE NOT NULL, "AuthorId" INTEGER REFERENCES "Authors" ("id") ON DELETE SET NULL ON UPDATE CASCADE, PRIMARY KEY ("id"));
\g
SELECT pk.constraint_type as "Constraint",c.column_name as "Field", c.column_default as "Default",c.is_nullable as "Null", (CASE WHEN c.udt_name = 'hstore' THEN c.udt_name ELSE c.data_type END) || (CASE WHEN c.character_maximum_length IS NOT NULL THEN '(' || c.character_maximum_length || ')' ELSE '' END) as "Type", (SELECT array_agg(e.enumlabel) FROM pg_catalog.pg_type t JOIN pg_catalog.pg_enum e ON t.oid=e.enumtypid WHERE t.typname=c.udt_name) AS "special", (SELECT pgd.description FROM pg_catalog.pg_statio_all_tables AS st INNER JOIN pg_catalog.pg_description pgd on (pgd.objoid=st.relid) WHERE c.ordinal_position=pgd.objsubid AND c.table_name=st.relname) AS "Comment" FROM information_schema.columns c LEFT JOIN (SELECT tc.table_schema, tc.table_name, cu.column_name, tc.constraint_type FROM information_schema.TABLE_CONSTRAINTS tc JOIN information_schema.KEY_COLUMN_USAGE  cu ON tc.table_schema=cu.table_schema and tc.table_name=cu.table_name and tc.constraint_name=cu.constraint_name and tc.constraint_type='PRIMARY KEY') pk ON pk.table_schema=c.table_schema AND pk.table_name=c.table_name AND pk.column_name=c.column_name WHERE c.table_name = 'Authors' AND c.table_schema = 'public'
\g
SELECT DISTINCT tc.constraint_name as constraint_name, tc.constraint_schema as constraint_schema, tc.constraint_catalog as constraint_catalog, tc.table_name as table_name,tc.table_schema as table_schema,tc.table_catalog as table_catalog,tc.initially_deferred as initially_deferred,tc.is_deferrable as is_deferrable,kcu.column_name as column_name,ccu.table_schema  AS referenced_table_schema,ccu.table_catalog  AS referenced_table_catalog,ccu.table_name  AS referenced_table_name,ccu.column_name AS referenced_column_name FROM information_schema.table_constraints AS tc JOIN information_schema.key_column_usage AS kcu ON tc.constraint_name = kcu.constraint_name JOIN information_schema.constraint_column_usage AS ccu ON ccu.constraint_name = tc.constraint_name WHERE constraint_type = 'FOREIGN KEY' AND tc.table_name = 'Authors' AND tc.table_catalog = 'node'
\g
ALTER TABLE "Authors" ALTER COLUMN "name" DROP NOT NULL;ALTER TABLE "Authors" ALTER COLUMN "name" DROP DEFAULT;ALTER TABLE "Authors"  ADD UNIQUE ("name");ALTER TABLE "Authors" ALTER COLUMN "name" TYPE VARCHAR(255) ;
\g
ALTER TABLE "Authors" ALTER COLUMN "tags" DROP NOT NULL;ALTER TABLE "Authors" ALTER COLUMN "tags" DROP DEFAULT;ALTER TABLE "Authors" ALTER COLUMN "tags" TYPE TEXT[];
\g
ALTER TABLE "Authors" ALTER COLUMN "meta" DROP NOT NULL;ALTER TABLE "Authors" ALTER COLUMN "meta" DROP DEFAULT;ALTER TABLE "Authors" ALTER COLUMN "meta" TYPE JSONB;
\g
ALTER TABLE "Authors" ALTER COLUMN "createdAt" SET NOT NULL;ALTER TABLE "Authors" ALTER COLUMN "createdAt" DROP DEFAULT;ALTER TABLE "Authors" ALTER COLUMN "createdAt" TYPE TIMESTAMP WITH TIME ZONE;
\g
ALTER TABLE "Authors" ALTER COLUMN "updatedAt" SET NOT NULL;ALTER TABLE "Authors" ALTER COLUMN "updatedAt" DROP DEFAULT;ALTER TABLE "Authors" ALTER COLUMN "updatedAt" TYPE TIMESTAMP WITH TIME ZONE;
\g
ALTER TABLE "Authors" ALTER COLUMN "deletedAt" DROP NOT NULL;ALTER TABLE "Authors" ALTER COLUMN "deletedAt" DROP DEFAULT;ALTER TABLE "Authors" ALTER COLUMN "deletedAt" TYPE TIMESTAMP WITH TIME ZONE;
\g
ALTER TABLE "Books" ALTER COLUMN "title" DROP NOT NULL;ALTER TABLE "Books" ALTER COLUMN "title" DROP DEFAULT;ALTER TABLE "Books" ALTER COLUMN "title" TYPE VARCHAR(255);
\g
ALTER TABLE "Books" ALTER COLUMN "price" DROP NOT NULL;ALTER TABLE "Books" ALTER COLUMN "price" DROP DEFAULT;ALTER TABLE "Books" ALTER COLUMN "price" TYPE DECIMAL(8,2);
\g
ALTER TABLE "Books" ALTER COLUMN "createdAt" SET NOT NULL;ALTER TABLE "Books" ALTER COLUMN "createdAt" DROP DEFAULT;ALTER TABLE "Books" ALTER COLUMN "createdAt" TYPE TIMESTAMP WITH TIME ZONE;
\g
ALTER TABLE "Books" ALTER COLUMN "updatedAt" SET NOT NULL;ALTER TABLE "Books" ALTER COLUMN "updatedAt" DROP DEFAULT;ALTER TABLE "Books" ALTER COLUMN "updatedAt" TYPE TIMESTAMP WITH TIME ZONE;
\g
ALTER TABLE "Books" DROP CONSTRAINT "Books_AuthorId_fkey"
\g
ALTER TABLE "Books"  ADD FOREIGN KEY ("AuthorId") REFERENCES "Authors" ("id") ON DELETE SET NULL ON UPDATE CASCADE;
\g
INSERT INTO "Authors" ("id","name","tags","kind","createdAt","updatedAt") VALUES (DEFAULT,$1,$2,$3,$4,$5) RETURNING "id","name","tags","kind","meta","createdAt","updatedAt","deletedAt";
\bind 'x' '{a}' 'a' '2026-11-24 09:34:49.865+00' '2026-11-24 09:34:49.865+00' \g
INSERT INTO "Books" ("id","title","price","createdAt","updatedAt","AuthorId") VALUES (DEFAULT,$1,$2,$3,$4,$5) RETURNING "id","title","price","createdAt","updatedAt","AuthorId";
\bind 't' '1' '2026-11-24 09:34:49.892+00' '2026-11-24 09:34:49.892+00' '1' \g
SELECT "Author".*, "Books"."id" AS "Books.id", "Books"."title" AS "Books.title", "Books"."price" AS "Books.price", "Books"."createdAt" AS "Books.createdAt", "Books"."updatedAt" AS "Books.updatedAt", "Books"."AuthorId" AS "Books.AuthorId" FROM (SELECT "Author"."id", "Author"."name", "Author"."tags", "Author"."kind", "Author"."meta", "Author"."createdAt", "Author"."updatedAt", "Author"."deletedAt" FROM "Authors" AS "Author" WHERE ("Author"."deletedAt" IS NULL) ORDER BY "Author"."name" ASC LIMIT 3 OFFSET 0) AS "Author" LEFT OUTER JOIN "Books" AS "Books" ON "Author"."id" = "Books"."AuthorId" AND "Books"."title" ILIKE 't%' ORDER BY "Author"."name" ASC;
\g
SELECT count(*) AS "count" FROM "Authors" AS "Author" WHERE ("Author"."deletedAt" IS NULL AND CAST(("Author"."meta"#>>'{x}') AS DOUBLE PRECISION) = 1);
\g
SELECT "id", "name", "tags", "kind", "meta", "createdAt", "updatedAt", "deletedAt" FROM "Authors" AS "Author" WHERE ("Author"."deletedAt" IS NULL AND CAST(("Author"."meta"#>>'{x}') AS DOUBLE PRECISION) = 1);
\g
START TRANSACTION;
\g
SELECT "id", "name", "tags", "kind", "meta", "createdAt", "updatedAt", "deletedAt" FROM "Authors" AS "Author" WHERE ("Author"."deletedAt" IS NULL AND "Author"."name" = 'y');
\g
COMMIT;
\g
INSERT INTO "Authors" ("name","kind","createdAt","updatedAt") VALUES ($1,$2,$3,$4) ON CONFLICT ("name") DO UPDATE SET "name"=EXCLUDED."name","kind"=EXCLUDED."kind","updatedAt"=EXCLUDED."updatedAt" RETURNING "id","name","tags","kind","meta","createdAt","updatedAt","deletedAt";
\bind 'x' 'b' '2026-11-24 09:34:50+00' '2026-11-24 09:34:50+00' \g
UPDATE "Books" SET "price"="price"+ 1,"updatedAt"='2026-11-24 09:34:50.008 +00:00' WHERE "id" = 1 RETURNING *
\g
INSERT INTO "Authors" ("id","name","createdAt","updatedAt") VALUES (DEFAULT,'z','2026-11-24 09:34:50.010 +00:00','2026-11-24 09:34:50.010 +00:00'),(DEFAULT,'w','2026-11-24 09:34:50.010 +00:00','2026-11-24 09:34:50.010 +00:00') ON CONFLICT ("name") DO UPDATE SET "kind"=EXCLUDED."kind" RETURNING "id","name","tags","kind","meta","createdAt","updatedAt","deletedAt";
\g
SELECT sum("price") AS "sum" FROM "Books" AS "Book";
\g
UPDATE "Authors" SET "deletedAt"=$1,"updatedAt"=$2 WHERE "id" = $3
\bind '2026-11-24 09:34:50.013+00' '2026-11-24 09:34:50.013+00' '1' \g
SET TRANSACTION ISOLATION LEVEL SERIALIZABLE;
\g
SELECT "id", "name", "tags", "kind", "meta", "createdAt", "updatedAt", "deletedAt" FROM "Authors" AS "Author" WHERE ("Author"."deletedAt" IS NULL) LIMIT 1 FOR UPDATE SKIP LOCKED;
\g
SELECT table_name FROM information_schema.tables WHERE table_schema = 'public' AND table_type LIKE '%TABLE' AND table_name != 'spatial_ref_sys';
\g
ALTER TABLE "public"."Books" ADD COLUMN "pages" INTEGER;
\g
ALTER TABLE "Books" ALTER COLUMN "pages" DROP NOT NULL;ALTER TABLE "Books" ALTER COLUMN "pages" DROP DEFAULT;ALTER TABLE "Books" ALTER COLUMN "pages" TYPE BIGINT;
\g
ALTER TABLE "Books" RENAME COLUMN "pages" TO "n";
\g
ALTER TABLE "public"."Books" DROP COLUMN "n";
\g
ALTER TABLE "Books" ADD CONSTRAINT "pc" CHECK ("price" > 0);
\g
SELECT schema_name FROM information_schema.schemata WHERE schema_name <> 'information_schema' AND schema_name != 'public' AND schema_name !~ E'^pg_';
\g
SELECT * FROM "Books" WHERE id = 1
\g
SELECT $1::int
\bind '1' \g
SHOW SERVER_VERSION
\g
DROP TABLE "Books", "Authors"
\g
