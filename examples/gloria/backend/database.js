'use strict';
const { Pool } = require('pg');

// A pool that recovers by itself: an idle client that loses its server is only worth a log line.
const pool = new Pool({
  connectionString: process.env.DATABASE_URL,
  max: 5,
  connectionTimeoutMillis: 5000,
});
pool.on('error', (error) => console.error(`database: ${error.message}`));

module.exports = pool;
