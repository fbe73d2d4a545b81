-- One of everything that the catalog is read for.
CREATE SCHEMA crm;
CREATE SCHEMA "Größe 2";
CREATE SCHEMA empty;
REVOKE ALL ON SCHEMA empty FROM PUBLIC;
GRANT USAGE ON SCHEMA crm TO PUBLIC;

CREATE TABLE crm.person (
  id bigint PRIMARY KEY, email text UNIQUE, gone int, name text COLLATE "C" NOT NULL DEFAULT 'nobody',
  born date CHECK (born > '1900-01-01'), full_name text GENERATED ALWAYS AS (upper(name)) STORED,
  seen timestamptz DEFAULT now());
ALTER TABLE crm.person DROP COLUMN gone;
COMMENT ON TABLE crm.person IS 'People';
COMMENT ON COLUMN crm.person.email IS 'Where "they" are reached';
CREATE TABLE crm.veteran (medal text) INHERITS (crm.person);
CREATE TABLE "Größe 2"."Straße""n" ("Ä" int, "b c" text);
CREATE TABLE crm.nothing ();
CREATE SEQUENCE crm.numbers;

CREATE TABLE crm.purchase (
  id int, person bigint REFERENCES crm.person ON DELETE CASCADE ON UPDATE SET NULL, at date NOT NULL,
  PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
CREATE TABLE crm.purchase_old PARTITION OF crm.purchase FOR VALUES FROM (MINVALUE) TO (MAXVALUE);
CREATE TABLE crm.shard (id int) PARTITION BY RANGE ((id % 10), id);

-- Keys of which equality proves nothing, and one of which it does.
-- Only ICU has careless collations, and the embedded server has no ICU: this one is only said to be careless.
CREATE COLLATION crm.careless FROM "C";
SET allow_system_table_mods = on;
UPDATE pg_collation SET collisdeterministic = false WHERE collname = 'careless';
RESET allow_system_table_mods;
CREATE TABLE crm.keys (
  a int, b int, c int, d text COLLATE crm.careless, e int UNIQUE DEFERRABLE, f text, g text,
  EXCLUDE USING btree (c WITH =));
CREATE UNIQUE INDEX ON crm.keys (a) WHERE b > 0;
CREATE UNIQUE INDEX ON crm.keys (lower(f));
CREATE UNIQUE INDEX ON crm.keys (d COLLATE "C");
CREATE UNIQUE INDEX ON crm.keys (b, a) INCLUDE (c);
CREATE UNIQUE INDEX ON crm.keys (g text_pattern_ops);
CREATE INDEX ON crm.keys (upper(f), a, (a + b));

CREATE VIEW crm.contact AS SELECT id, email AS address FROM crm.person;
CREATE VIEW crm.contact_twice AS SELECT address FROM crm.contact;
CREATE MATERIALIZED VIEW crm.contact_kept AS SELECT address FROM crm.contact WITH NO DATA;

CREATE FUNCTION crm.note() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN DELETE FROM crm.veteran; RETURN NEW; END$$;
CREATE TRIGGER on_change AFTER INSERT OR UPDATE OF email, name ON crm.person
  FOR EACH ROW EXECUTE FUNCTION crm.note();
CREATE TRIGGER sometimes BEFORE DELETE ON crm.person FOR EACH ROW WHEN (old.id > 5) EXECUTE FUNCTION crm.note();
CREATE TRIGGER emptied AFTER TRUNCATE ON crm.person EXECUTE FUNCTION crm.note();
CREATE TRIGGER switched_off AFTER INSERT ON crm.person FOR EACH ROW EXECUTE FUNCTION crm.note();
ALTER TABLE crm.person DISABLE TRIGGER switched_off;
CREATE TRIGGER everywhere AFTER DELETE ON crm.purchase FOR EACH ROW EXECUTE FUNCTION crm.note();
CREATE RULE also AS ON UPDATE TO crm.keys DO ALSO DELETE FROM crm.person WHERE id = new.a;
CREATE RULE never AS ON DELETE TO crm.keys DO INSTEAD NOTHING;
CREATE RULE dormant AS ON INSERT TO crm.keys DO ALSO DELETE FROM crm.person;
ALTER TABLE crm.keys DISABLE RULE dormant;
ALTER TABLE crm.person ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON crm.person USING (name = current_user) WITH CHECK (id > 0);

CREATE FUNCTION crm.sum_of(a int, VARIADIC b int[] DEFAULT '{}', OUT total int, OUT n int) LANGUAGE sql
  SECURITY DEFINER STABLE SET search_path = crm, public AS $$SELECT a, 1$$;
CREATE FUNCTION crm.rows_of(text) RETURNS SETOF crm.person LANGUAGE sql AS $$SELECT * FROM crm.person$$;
CREATE FUNCTION crm.listed(p int) RETURNS TABLE (q text) LANGUAGE plpgsql AS $$BEGIN RETURN QUERY SELECT 'a'; END$$;
CREATE PROCEDURE crm.purge() LANGUAGE plpgsql AS $$BEGIN DELETE FROM crm.person; END$$;
CREATE FUNCTION crm.step(int, int) RETURNS int LANGUAGE sql IMMUTABLE AS $$SELECT $1$$;
CREATE FUNCTION crm.finish(int) RETURNS int LANGUAGE sql IMMUTABLE AS $$SELECT $1$$;
CREATE AGGREGATE crm.gathered(int) (SFUNC = crm.step, STYPE = int, FINALFUNC = crm.finish);
CREATE OPERATOR crm.<+> (LEFTARG = int, RIGHTARG = int, FUNCTION = crm.step);
CREATE OPERATOR crm.!!! (RIGHTARG = int, FUNCTION = crm.finish);

CREATE FUNCTION crm.fine(text) RETURNS boolean LANGUAGE sql AS $$SELECT true$$;
CREATE DOMAIN crm.mail AS text DEFAULT lower('A') CHECK (crm.fine(VALUE)) CHECK (VALUE <> '');
CREATE TYPE crm.mood AS ENUM ('sad', 'glad');
CREATE TYPE crm.pair AS (one crm.mail, two int);
CREATE TYPE crm.span AS RANGE (subtype = float8, subtype_diff = float8mi);
CREATE FUNCTION crm.to_int(crm.pair) RETURNS int LANGUAGE sql AS $$SELECT 1$$;
CREATE CAST (crm.pair AS int) WITH FUNCTION crm.to_int(crm.pair) AS IMPLICIT;
CREATE CAST (crm.mood AS text) WITH INOUT AS ASSIGNMENT;
CREATE COLLATION crm."Mine" FROM "C";
CREATE TABLE crm.sorted (a text COLLATE crm."Mine");
CREATE FUNCTION crm.compare(crm.mood, crm.mood) RETURNS int LANGUAGE sql IMMUTABLE AS $$SELECT 0$$;
CREATE OPERATOR CLASS crm.moods DEFAULT FOR TYPE crm.mood USING btree AS FUNCTION 1 crm.compare(crm.mood, crm.mood);
CREATE FUNCTION crm.watch() RETURNS event_trigger LANGUAGE plpgsql AS $$BEGIN END$$;
CREATE EVENT TRIGGER watcher ON ddl_command_end EXECUTE FUNCTION crm.watch();
CREATE EVENT TRIGGER blind ON sql_drop EXECUTE FUNCTION crm.watch();
ALTER EVENT TRIGGER blind DISABLE;
CREATE STATISTICS crm.guess ON (lower(email)) FROM crm.person;

CREATE EXTENSION dblink SCHEMA crm;
CREATE EXTENSION hstore SCHEMA public;
