'use strict';
// The app of the load tests, plain Node: every kind of traffic, and a ledger that shows duplicated POSTs.
const crypto = require('node:crypto');
const fs = require('node:fs');
const http = require('node:http');

const release = process.env.RELEASE_MARK ?? 'none';
const instance = process.env.SLIPWAY_INSTANCE ?? 'local';
const ledger = process.env.LEDGER;
const sockets = new Set();

function answer(response, status, value) {
  const body = JSON.stringify(value);
  response.writeHead(status, { 'Content-Type': 'application/json', 'Content-Length': Buffer.byteLength(body) });
  response.end(body);
}

const server = http.createServer((request, response) => {
  const url = new URL(request.url, 'http://x');
  if (request.method === 'POST' && url.pathname === '/post') {
    let body = '';
    request.on('data', (chunk) => { body += chunk; });
    request.on('end', () => {
      if (ledger)
        fs.appendFileSync(ledger, `${body}\n`);
      answer(response, 201, { echo: body, release, instance });
    });
  } else if (request.method === 'PUT' && url.pathname === '/upload') {
    const hash = crypto.createHash('sha256');
    let bytes = 0;
    request.on('data', (chunk) => { hash.update(chunk); bytes += chunk.length; });
    request.on('end', () => answer(response, 200, { bytes, sha256: hash.digest('hex'), release }));
  } else if (url.pathname === '/slow') {
    setTimeout(() => answer(response, 200, { release, instance }), Number(url.searchParams.get('ms') ?? 300));
  } else if (url.pathname === '/big') {
    response.writeHead(200, { 'Content-Type': 'application/octet-stream' });
    response.end(Buffer.alloc(Number(url.searchParams.get('bytes') ?? 262144), 'x'));
  } else if (url.pathname === '/log') {
    console.log(url.searchParams.get('line'));
    answer(response, 200, {});
  } else {
    answer(response, 200, { release, instance, pid: process.pid, headers: request.headers, url: request.url });
  }
});

// A WebSocket echo: text frames below 126 bytes, which is all that the tests send.
server.on('upgrade', (request, socket) => {
  const accept = crypto.createHash('sha1')
    .update(`${request.headers['sec-websocket-key']}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest('base64');
  socket.write('HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n' +
               `Sec-WebSocket-Accept: ${accept}\r\n\r\n`);
  sockets.add(socket);
  let pending = Buffer.alloc(0);
  socket.on('data', (data) => {
    pending = Buffer.concat([pending, data]);
    while (pending.length >= 6) {
      const length = pending[1] & 127;
      if (pending.length < 6 + length)
        break;
      const mask = pending.subarray(2, 6);
      const payload = Buffer.from(pending.subarray(6, 6 + length).map((byte, i) => byte ^ mask[i % 4]));
      const opcode = pending[0] & 15;
      pending = pending.subarray(6 + length);
      if (opcode === 8)
        return socket.end(Buffer.concat([Buffer.from([0x88, payload.length]), payload]));
      socket.write(Buffer.concat([Buffer.from([0x80 | opcode, payload.length]), payload]));
    }
  });
  socket.on('end', () => socket.end());
  socket.on('error', () => sockets.delete(socket));
  socket.on('close', () => sockets.delete(socket));
});

server.listen(Number(process.env.PORT), '127.0.0.1', () => console.log(`listening ${release}`));

process.on('SIGTERM', () => {
  console.log(`SIGTERM with ${sockets.size} sockets`);
  for (const socket of sockets)
    socket.end(Buffer.from([0x88, 2, 0x03, 0xe9])); // 1001: going away
  server.close(() => process.exit(0));
  setTimeout(() => process.exit(0), 2000);
});
