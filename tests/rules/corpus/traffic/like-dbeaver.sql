-- What DBeaver's navigator asks, in our own words
-- written by hand and run on PostgreSQL 18 on 2026-11-24

SET extra_float_digits = 3
\g
SET application_name = 'DBeaver 24.2 - Main <shop>'
\g
SELECT version()
\g
SHOW search_path
\g
SHOW server_version
\g
SELECT current_schema(), session_user
\g
SELECT current_database(), inet_server_port(), pg_backend_pid()
\g
SELECT db.oid, db.* FROM pg_catalog.pg_database db WHERE datallowconn AND NOT datistemplate OR db.datname = 'shop' ORDER BY db.datname
\g
SELECT n.oid, n.*, d.description FROM pg_catalog.pg_namespace n LEFT OUTER JOIN pg_catalog.pg_description d ON d.objoid = n.oid AND d.objsubid = 0 AND d.classoid = 'pg_namespace'::regclass ORDER BY nspname
\g
SELECT a.oid, a.*, pd.description FROM pg_catalog.pg_roles a LEFT JOIN pg_catalog.pg_shdescription pd ON a.oid = pd.objoid ORDER BY a.rolname
\g
SELECT t.oid, t.*, c.relkind, format_type(nullif(t.typbasetype, 0), t.typtypmod) AS base_type_name, d.description FROM pg_catalog.pg_type t LEFT OUTER JOIN pg_catalog.pg_type et ON et.oid = t.typelem LEFT OUTER JOIN pg_catalog.pg_class c ON c.oid = t.typrelid LEFT OUTER JOIN pg_catalog.pg_description d ON t.oid = d.objoid WHERE t.typname IS NOT NULL AND (c.relkind IS NULL OR c.relkind = 'c') AND (et.typcategory IS NULL OR et.typcategory <> 'C')
\g
SELECT c.oid, c.*, d.description, pg_catalog.pg_get_expr(c.relpartbound, c.oid) AS partition_expr, pg_catalog.pg_get_partkeydef(c.oid) AS partition_key FROM pg_catalog.pg_class c LEFT OUTER JOIN pg_catalog.pg_description d ON d.objoid = c.oid AND d.objsubid = 0 AND d.classoid = 'pg_class'::regclass WHERE c.relnamespace = 'crm'::regnamespace AND c.relkind NOT IN ('i', 'I', 'c')
\g
SELECT c.relname, a.*, pg_catalog.pg_get_expr(ad.adbin, ad.adrelid, true) AS def_value, dsc.description, dep.objid FROM pg_catalog.pg_attribute a INNER JOIN pg_catalog.pg_class c ON (a.attrelid = c.oid) LEFT OUTER JOIN pg_catalog.pg_attrdef ad ON (a.attrelid = ad.adrelid AND a.attnum = ad.adnum) LEFT OUTER JOIN pg_catalog.pg_description dsc ON (c.oid = dsc.objoid AND a.attnum = dsc.objsubid) LEFT OUTER JOIN pg_depend dep ON dep.refobjid = a.attrelid AND dep.deptype = 'i' AND dep.refobjsubid = a.attnum AND dep.classid = dep.refclassid WHERE NOT a.attisdropped AND c.relkind NOT IN ('i', 'I', 'c') AND c.oid = 'crm.customers'::regclass ORDER BY a.attnum
\g
SELECT c.oid, c.*, t.relname AS tabrelname, rt.relnamespace AS refnamespace, d.description, CASE WHEN c.contype = 'c' THEN pg_catalog.pg_get_constraintdef(c.oid) ELSE NULL END AS consrc_copy FROM pg_catalog.pg_constraint c INNER JOIN pg_catalog.pg_class t ON t.oid = c.conrelid LEFT OUTER JOIN pg_catalog.pg_class rt ON rt.oid = c.confrelid LEFT OUTER JOIN pg_catalog.pg_description d ON d.objoid = c.oid AND d.objsubid = 0 WHERE c.conrelid = 'crm.orders'::regclass ORDER BY c.oid
\g
SELECT i.*, i.indkey AS keys, c.relname, c.relnamespace, c.relam, c.reltablespace, tc.relname AS tabrelname, dsc.description, pg_catalog.pg_get_expr(i.indpred, i.indrelid) AS pred_expr, pg_catalog.pg_get_expr(i.indexprs, i.indrelid, true) AS expr, pg_catalog.pg_relation_size(i.indexrelid) AS index_rel_size, pg_catalog.pg_stat_get_numscans(i.indexrelid) AS index_num_scans FROM pg_catalog.pg_index i INNER JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid INNER JOIN pg_catalog.pg_class tc ON tc.oid = i.indrelid LEFT OUTER JOIN pg_catalog.pg_description dsc ON i.indexrelid = dsc.objoid WHERE i.indrelid = 'crm.customers'::regclass ORDER BY tabrelname, c.relname
\g
SELECT p.oid, p.*, pg_catalog.pg_get_expr(p.proargdefaults, 0) AS arg_defaults, d.description FROM pg_catalog.pg_proc p LEFT OUTER JOIN pg_catalog.pg_description d ON d.objoid = p.oid WHERE p.pronamespace = 'crm'::regnamespace ORDER BY p.proname
\g
SELECT pg_catalog.pg_get_functiondef('crm.vat'::regproc)
\g
SELECT pg_catalog.pg_get_viewdef('crm.contact_v2'::regclass, true)
\g
SELECT x.oid, x.*, p.pronamespace AS func_schema_id, d.description FROM pg_catalog.pg_trigger x LEFT OUTER JOIN pg_catalog.pg_proc p ON p.oid = x.tgfoid LEFT OUTER JOIN pg_catalog.pg_description d ON d.objoid = x.oid AND d.objsubid = 0 WHERE x.tgrelid = 'public.purge_queue'::regclass AND NOT x.tgisinternal
\g
SELECT i.*, c.relnamespace FROM pg_catalog.pg_inherits i, pg_catalog.pg_class c WHERE i.inhparent = 'crm.events'::regclass AND c.oid = i.inhrelid AND c.relispartition ORDER BY i.inhseqno
\g
SELECT pg_catalog.pg_table_size(c.oid), pg_catalog.pg_relation_size(c.oid), pg_catalog.pg_total_relation_size(c.oid) AS total FROM pg_catalog.pg_class c WHERE c.oid = 'crm.customers'::regclass
\g
SELECT e.oid, cfg.tbls, n.nspname AS schema_name, e.*, d.description FROM pg_catalog.pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace LEFT JOIN pg_catalog.pg_description d ON d.objoid = e.oid LEFT JOIN (SELECT extname, string_agg(ns.nspname || '.' || cl.relname, ',') AS tbls FROM (SELECT extname, unnest(extconfig) AS eoid FROM pg_catalog.pg_extension) x LEFT JOIN pg_catalog.pg_class cl ON cl.oid = x.eoid LEFT JOIN pg_catalog.pg_namespace ns ON ns.oid = cl.relnamespace GROUP BY extname) cfg ON cfg.extname = e.extname
\g
SELECT * FROM pg_catalog.pg_enum
\g
SELECT * FROM pg_catalog.pg_settings ORDER BY name
\g
SELECT (SELECT count(*) FROM pg_catalog.pg_stat_all_tables) AS tables, pg_catalog.pg_is_in_recovery()
\g
SELECT x.usename, count(*) FROM pg_catalog.pg_stat_activity x GROUP BY x.usename
\g
SELECT unnest(relacl) FROM pg_catalog.pg_class WHERE oid = 'crm.customers'::regclass
\g
SELECT d.deptype, pg_catalog.pg_identify_object(d.classid, d.objid, d.objsubid), pg_catalog.pg_describe_object(d.refclassid, d.refobjid, d.refobjsubid) FROM pg_catalog.pg_depend d WHERE d.refobjid = 'crm.customers'::regclass
\g
EXPLAIN (FORMAT XML) SELECT id, tier FROM crm.customers
\g
SELECT count(*) FROM public.products
\g
SELECT p.id, p.name, p.price FROM public.products p WHERE p.name ILIKE '%1%' ORDER BY p.id DESC LIMIT 200
\g
SELECT 'x' AS c FROM crm.customers c LIMIT 0
\g
