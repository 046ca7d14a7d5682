'use strict';
const Redis = require('ioredis');

exports.NAME = 'messages';

exports.connect = () => {
  const redis = new Redis(process.env.REDIS_URL, { maxRetriesPerRequest: 3 });
  redis.on('error', (error) => console.error(`redis: ${error.message}`));
  return redis;
};
