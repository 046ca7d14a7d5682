'use strict';
const database = require('./database');
const queue = require('./queue');

const redis = queue.connect();
let isStopping = false;

process.on('SIGTERM', () => {
  console.log('stopping after the current message');
  isStopping = true;
});

async function main() {
  console.log('waiting for messages');
  while (!isStopping) {
    const item = await redis.brpop(queue.NAME, 1);
    if (!item)
      continue;
    await database.query('UPDATE messages SET processed_at = now() WHERE id = $1', [item[1]]);
    console.log(`message ${item[1]} is processed`);
  }
  await Promise.allSettled([database.end(), redis.quit()]);
}

main().catch((error) => {
  console.error(error.stack);
  process.exit(1);
});
