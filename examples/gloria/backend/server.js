'use strict';
const express = require('express');
const database = require('./database');
const queue = require('./queue');

const app = express();
const redis = queue.connect();
const instance = process.env.SLIPWAY_INSTANCE ?? 'local';

app.disable('x-powered-by');
app.use(express.json({ limit: '100kb' }));

app.get('/health', (request, response) => response.json({ status: 'ok', instance }));

app.get('/health/database', async (request, response) => {
  const { rows } = await database.query('SELECT version() AS version');
  response.json({ status: 'ok', version: rows[0].version });
});

app.get('/health/redis', async (request, response) => {
  response.json({ status: 'ok', answer: await redis.ping() });
});

app.get('/api/v1/messages', async (request, response) => {
  const { rows } = await database.query(
    'SELECT id, body, created_at, processed_at FROM messages ORDER BY id DESC LIMIT 50');
  response.json({ instance, messages: rows });
});

app.post('/api/v1/messages', async (request, response) => {
  const body = String(request.body?.body ?? '').trim();
  if (!body)
    return response.status(400).json({ error: 'body is missing' });
  const { rows } = await database.query(
    'INSERT INTO messages (body) VALUES ($1) RETURNING id, body, created_at', [body]);
  await redis.lpush(queue.NAME, String(rows[0].id));
  response.status(201).json({ instance, message: rows[0] });
});

app.use((error, request, response, next) => {
  console.error(`${request.method} ${request.path}: ${error.message}`);
  if (response.headersSent)
    return next(error);
  response.status(error.status ?? 503).json({ error: error.message });
});

const server = app.listen(Number(process.env.PORT ?? 3000), '127.0.0.1', () => {
  console.log(`listening on port ${server.address().port}`);
});

process.on('SIGTERM', () => {
  console.log('stopping');
  server.close(async () => {
    await Promise.allSettled([database.end(), redis.quit()]);
    process.exit(0);
  });
});
