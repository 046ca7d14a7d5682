'use strict';
// Applies migrations/*.sql in order, each once, each in a transaction, one migrator at a time.
const fs = require('node:fs');
const path = require('node:path');
const { Client } = require('pg');

const LOCK = 7261;

async function main() {
  const client = new Client({ connectionString: process.env.DATABASE_URL });
  await client.connect();
  try {
    await client.query('SELECT pg_advisory_lock($1)', [LOCK]);
    await client.query(
      'CREATE TABLE IF NOT EXISTS migrations (name text PRIMARY KEY, applied_at timestamptz DEFAULT now())');
    const { rows } = await client.query('SELECT name FROM migrations');
    const applied = new Set(rows.map((row) => row.name));
    const folder = path.join(__dirname, 'migrations');
    for (const name of fs.readdirSync(folder).filter((file) => file.endsWith('.sql')).sort()) {
      if (applied.has(name))
        continue;
      await client.query('BEGIN');
      await client.query(fs.readFileSync(path.join(folder, name), 'utf8'));
      await client.query('INSERT INTO migrations (name) VALUES ($1)', [name]);
      await client.query('COMMIT');
      console.log(`applied ${name}`);
    }
  } finally {
    await client.end();
  }
}

main().catch((error) => {
  console.error(`migration failed: ${error.message}`);
  process.exit(1);
});
