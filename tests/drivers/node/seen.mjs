// What Node's two drivers see of a server: a line `NAME: RESULT` for each script. No suite of theirs is published
// with the packages, so two runs of this are compared.
import { createHash } from 'node:crypto'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import pg from 'pg'
import Cursor from 'pg-cursor'
import QueryStream from 'pg-query-stream'
import { from as copyFrom, to as copyTo } from 'pg-copy-streams'
import postgres from 'postgres'

const place = {
  host: process.env.PGHOST,
  port: Number(process.env.PGPORT),
  user: process.env.PGUSER,
  password: process.env.PGPASSWORD,
  database: process.env.PGDATABASE,
}
const tls = process.env.NODE_TLS === '1' ? { rejectUnauthorized: false } : false
const FIELDS = ['severity', 'code', 'detail', 'hint', 'position', 'where', 'schema', 'schema_name', 'table',
  'table_name', 'column', 'constraint', 'constraint_name', 'file', 'routine']

function plain(error) {
  return { error: error.message, ...Object.fromEntries(FIELDS.filter((f) => error[f]).map((f) => [f, error[f]])) }
}

function say(name, seen) {
  const text = JSON.stringify(seen, (_, value) => (typeof value === 'bigint' ? `${value}` : value)) ?? 'nothing'
  const same = text.replace(/pg_temp_\d+/g, 'pg_temp')
  const short = same.length > 300 ? `${same.length} ${createHash('sha256').update(same).digest('hex')}` : same
  console.log(`${name}: ${short}`)
}

const attempt = (promise) => promise.then((value) => value, plain)
const all = async (stream) => {
  const parts = []
  for await (const part of stream) parts.push(part)
  return parts
}
const result = ({ command, rowCount, rows, fields }) => ({
  command, rowCount, rows, fields: fields?.map((f) => [f.name, f.dataTypeID, f.format, f.columnID, f.dataTypeModifier]),
})
const results = (value) => (value.error ? value : Array.isArray(value) ? value.map(result) : result(value))

const STATEMENTS = [
  ['', []], ['-- nothing', []], ['SELECT 1 AS a, NULL AS b, $1::text AS c', ['x']], ['SELECT 1/0', []], ['SELEC', []],
  ['SELECT * FROM nosuch', []], ['SELECT $1::int', ['x']], ['SELECT $1::bytea', [Buffer.from([0, 255])]],
  ['SELECT $1::json AS j, $2::int[] AS a, $3::timestamptz AS t', [{ a: 1 }, [1, 2], new Date(0)]],
  ['CREATE TEMP TABLE t (i int PRIMARY KEY, n text NOT NULL)', []], ['INSERT INTO t VALUES ($1, $2) RETURNING *', [1, 'a']],
  ['INSERT INTO t VALUES (1, $1)', ['again']], ['INSERT INTO t VALUES (2, NULL)', []], ['UPDATE t SET n = $1', ['b']],
  ['DELETE FROM t WHERE i = $1', [1]], ['SELECT generate_series(1, 5000) AS n', []], ["SELECT repeat('x', 1000000) AS l", []],
  ['BEGIN', []], ['SELECT 1/0', []], ['SELECT 1', []], ['COMMIT', []], ["DO $$BEGIN RAISE NOTICE 'n'; END$$", []],
  ["SET TIME ZONE 'Europe/Paris'", []], ['SHOW TIME ZONE', []], ['SELECT $1::text AS long', ['y'.repeat(2000000)]],
]

const SCRIPTS = {
  async extended(client) {
    for (const [index, [sql, values]] of STATEMENTS.entries()) {
      say(`extended ${index}`, results(await attempt(client.query({ text: sql, values, queryMode: 'extended' }))))
    }
  },
  async simple(client) {
    for (const sql of ['SELECT 1; SELECT 2', 'SELECT 1; SELECT 1/0; SELECT 2', ';', 'BEGIN; SELECT 1; ROLLBACK']) {
      say(`simple ${sql}`, results(await attempt(client.query(sql))))
    }
  },
  async named(client) {
    for (const value of [1, 'x', 2]) {
      say(`named ${value}`, results(await attempt(client.query({ name: 'p', text: 'SELECT $1::int AS v', values: [value] }))))
    }
    say('named again', await attempt(client.query({ name: 'p', text: 'SELECT 2' })))
  },
  async binary(client) {
    say('binary', results(await client.query({ text: 'SELECT 1::int4 AS a, 2::int8 AS b', binary: true })))
    say('array', (await client.query({ text: 'SELECT 1 AS a, 2 AS a', rowMode: 'array' })).rows)
  },
  async queued(client) {
    const answers = Array.from({ length: 200 }, (_, n) => attempt(client.query('SELECT 10 / ($1::int % 7) AS q', [n])))
    say('queued', (await Promise.all(answers)).map((one) => one.error ?? one.rows[0].q))
  },
  async cursor(client) {
    const cursor = client.query(new Cursor('SELECT generate_series(1, 10) AS n'))
    const read = [await cursor.read(3), await cursor.read(3)]
    await cursor.close()
    say('cursor', read)
    const failing = client.query(new Cursor('SELECT 1 / (5 - n) AS q FROM generate_series(1, 10) n'))
    say('cursor failing', [await attempt(failing.read(2)), await attempt(failing.read(10))])
    say('stream', (await all(client.query(new QueryStream('SELECT generate_series(1, 1000) AS n', [], { batchSize: 7 })))).length)
  },
  async copy(client) {
    await client.query('CREATE TEMP TABLE c (i int, n text)')
    await pipeline(Readable.from(Array.from({ length: 5000 }, (_, n) => `${n}\tname ${n}\n`)), client.query(copyFrom('COPY c FROM STDIN')))
    say('copy in', (await client.query('SELECT count(*), sum(i) FROM c')).rows)
    say('copy out', Buffer.concat(await all(client.query(copyTo('COPY c TO STDOUT')))).toString())
    say('copy bad', await attempt(pipeline(Readable.from(['x\ty\n']), client.query(copyFrom('COPY c FROM STDIN')))))
    say('copy nosuch', await attempt(pipeline(Readable.from(['x\n']), client.query(copyFrom('COPY nosuch FROM STDIN')))))
    say('after copy', (await client.query('SELECT count(*) FROM c')).rows)
  },
  async notify(client) {
    const heard = new Promise((resolve) => client.once('notification', (m) => resolve([m.channel, m.payload])))
    await client.query('LISTEN news')
    await client.query("NOTIFY news, 'hello'")
    say('notify', await heard)
  },
  async timeout(client) {
    await client.query("SET statement_timeout = '100ms'")
    say('timeout', await attempt(client.query('SELECT pg_sleep(10)')))
    await client.query('RESET statement_timeout')
  },
  async ended(client) {
    const over = new Promise((resolve) => client.once('error', (error) => resolve(plain(error))))
    say('ended', [await attempt(client.query('SELECT pg_terminate_backend(pg_backend_pid())')), await over])
  },
}

for (const [name, script] of Object.entries(SCRIPTS)) {
  const client = new pg.Client({ ...place, ssl: tls })
  const notices = []
  client.on('notice', (notice) => notices.push([notice.severity, notice.code, notice.message]))
  await client.connect()
  await script(client)
  say(`${name} notices`, notices)
  await client.end()
}

for (const wrong of [{ password: 'wrong' }, { database: 'nosuch' }, { user: 'nosuch' }]) {
  const client = new pg.Client({ ...place, ssl: tls, ...wrong })
  client.on('error', () => {})
  say(`wrong ${Object.keys(wrong)}`, await attempt(client.connect()))
}

const pool = new pg.Pool({ ...place, ssl: tls, max: 10 })
const counts = await Promise.all(Array.from({ length: 100 }, (_, n) => pool.query('SELECT $1::int * 2 AS v', [n])))
say('pool', counts.map((one) => one.rows[0].v))
await pool.end()

const sql = postgres({ ...place, ssl: tls && { rejectUnauthorized: false }, max: 2, onnotice: () => {} })
say('postgres.js', await sql`SELECT ${1}::int AS a, ${'x'} AS b, ${[1, 2]}::int[] AS c`)
say('postgres.js error', await attempt(sql`SELECT 1 / ${0}::int`))
say('postgres.js many', await Promise.all(Array.from({ length: 200 }, (_, n) => sql`SELECT ${n}::int AS n`.then(([row]) => row.n))))
say('postgres.js simple', await sql`SELECT 1 AS a; SELECT 2 AS b`.simple())
say('postgres.js begin', await attempt(sql.begin(async (tx) => [await tx`SELECT 1 AS a`, await tx`SELECT 1 / 0`])))
say('postgres.js savepoint', await sql.begin(async (tx) => [await attempt(tx.savepoint((sp) => sp`SELECT 1 / 0`)), await tx`SELECT 2 AS b`]))
const chunks = []
await sql`SELECT generate_series(1, 100) AS n`.cursor(30, (rows) => { chunks.push(rows.length) })
say('postgres.js cursor', chunks)
say('postgres.js describe', (await sql`SELECT ${1}::int AS a`.describe()).columns.map((c) => [c.name, c.type]))
const sleeping = sql`SELECT pg_sleep(60)`.execute()
await new Promise((resolve) => setTimeout(resolve, 500))
sleeping.cancel()
say('postgres.js cancel', await attempt(sleeping))
await sql.end()
