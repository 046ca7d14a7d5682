// origin.js PORT LOG - Node's HTTP server in its tolerant mode; answers every request with what it understood, and puts
// that on record once the body is whole. A WebSocket upgrade whose marker ends in an even digit is accepted, and everything
// after it swallowed.
'use strict'
const http = require('http')
const fs = require('fs')
const crypto = require('crypto')

const [port, path] = process.argv.slice(2)
const log = fs.openSync(path, 'a')

function record(request, status, body) {
  const id = request.headers['x-request-id'] || '-'
  fs.writeSync(log, `${id}\t${request.method}\t${request.url}\t${status}\t${body}\n`, null, 'latin1')
}

function answer(request, response) {
  const digest = crypto.createHash('sha1')
  let length = 0
  request.on('data', (data) => {
    digest.update(data)
    length += data.length
  })
  request.on('aborted', () => record(request, 499, '-'))
  request.on('error', () => {})
  request.on('end', () => {
    const body = `${length}:${digest.digest('hex').slice(0, 16)}`
    record(request, 200, body)
    response.setHeader('X-Seen', request.url)
    response.setHeader('X-Body', body)
    response.end('seen\n')
  })
}

const server = http.createServer({ insecureHTTPParser: true, maxHeaderSize: 131072, keepAliveTimeout: 5000 }, answer)
server.maxHeadersCount = 0
server.on('checkContinue', (request, response) => {
  response.writeContinue()
  answer(request, response)
})
server.on('checkExpectation', answer)
server.on('clientError', (error, socket) => {
  if (socket.writable) socket.end('HTTP/1.1 400 Bad Request\r\nServer: node\r\nContent-Length: 0\r\nConnection: close\r\n\r\n')
  else socket.destroy()
})
server.on('upgrade', (request, socket) => {
  const isAccepted = /m[0-9a-f]*[02468ace](?![0-9a-f])/.test(request.url)
  socket.on('error', () => {})
  record(request, isAccepted ? 101 : 200, '0:da39a3ee5e6b4b0d')
  const fields = `X-Seen: ${request.url}\r\nX-Body: 0:da39a3ee5e6b4b0d\r\n`
  if (isAccepted) {
    socket.write(`HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n${fields}\r\n`)
    socket.on('data', () => {})
    socket.on('end', () => socket.end())
  } else {
    socket.end(`HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n${fields}\r\nseen\n`)
  }
})
server.listen(Number(port), '127.0.0.1')
process.on('SIGTERM', () => process.exit(0))
