// An APNs-shaped server on Node's own http2, so that another's HTTP/2 judges ours. Loopback only.
// Options: JSON in APNS_OPTIONS, changed later by {"cmd": "set", "options": {…}} on stdin; {"cmd": "next", "answers": […]} scripts
// the next requests, {"cmd": "drop"} cuts every connection, {"cmd": "requests"} tells what came. Events: JSON lines on stdout.
//
// An answer of the script: {status, reason, headers} | {fault: "goaway" | "goaway_after" | "refuse" | "reset" | "drop" | "hang"}
//   goaway        GOAWAY that says: this stream and later ones were not looked at; then the connection is closed
//   goaway_after  this one is answered, GOAWAY follows, the connection is closed when its streams are done
//   refuse        RST_STREAM(REFUSED_STREAM): not processed, RFC 9113 §8.7
//   reset         RST_STREAM(INTERNAL_ERROR): nobody knows
'use strict';
const crypto = require('crypto');
const fs = require('fs');
const http2 = require('http2');
const readline = require('readline');

const options = Object.assign({
  port: 0,
  key: null, cert: null,    // PEM files; without them HTTP/2 in plain text
  public_key: null,         // PEM: provider tokens are verified; null: they are not looked at
  team_id: 'TEAM567890', key_id: 'KEY4567890', topic: 'com.example.app',
  token_age_s: 3600,
  max_streams: 1000,
  silent: [],               // device tokens that never get an answer
  keep_bodies: true,
}, JSON.parse(process.env.APNS_OPTIONS || '{}'));

const say = (event, fields) => process.stdout.write(JSON.stringify(Object.assign({ event }, fields)) + '\n');
const sessions = new Set();
const script = [];
let requests = [];
let count = 0;
let connections = 0;
let streams = 0;
let most_streams = 0;
const judged = new Map(); // provider token -> reason ('' where it is good)

function judge(token) {
  const parts = token.split('.');
  if (parts.length !== 3) return 'InvalidProviderToken';
  let header, claims;
  try {
    [header, claims] = parts.slice(0, 2).map((part) => JSON.parse(Buffer.from(part, 'base64url')));
  } catch { return 'InvalidProviderToken'; }
  const key = { key: options.public_key, dsaEncoding: 'ieee-p1363' };
  const good = crypto.verify('sha256', Buffer.from(parts.slice(0, 2).join('.')), key, Buffer.from(parts[2], 'base64url'));
  if (!good || header.alg !== 'ES256' || header.kid !== options.key_id || claims.iss !== options.team_id) return 'InvalidProviderToken';
  return Number.isInteger(claims.iat) ? '' : 'InvalidProviderToken';
}

function tokenProblem(authorization) {
  if (!options.public_key) return '';
  const token = (authorization || '').replace(/^bearer /i, '');
  if (!token) return 'MissingProviderToken';
  if (!judged.has(token)) judged.set(token, judge(token));
  if (judged.get(token)) return judged.get(token);
  const { iat } = JSON.parse(Buffer.from(token.split('.')[1], 'base64url'));
  return Math.abs(Date.now() / 1000 - iat) > options.token_age_s ? 'ExpiredProviderToken' : '';
}

const UUID = /^[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}$/i;
const TYPES = ['alert', 'background', 'voip', 'complication', 'fileprovider', 'mdm', 'location', 'liveactivity', 'pushtotalk', 'widgets'];

// [status, reason] of what is wrong with a request; null if it may be taken.
function problem(headers, body) {
  const refused = tokenProblem(headers.authorization);
  if (refused) return [403, refused];
  if (headers[':method'] !== 'POST') return [405, 'MethodNotAllowed'];
  const path = /^\/3\/device\/(.*)$/.exec(headers[':path']);
  if (!path) return [404, 'BadPath'];
  if (!path[1]) return [400, 'MissingDeviceToken'];
  if (!/^[0-9a-f]+$/i.test(path[1]) || path[1].length < 64) return [400, 'BadDeviceToken'];
  if (!headers['apns-topic']) return [400, 'MissingTopic'];
  if (headers['apns-topic'] !== options.topic) return [400, 'TopicDisallowed'];
  if (!TYPES.includes(headers['apns-push-type'])) return [400, 'InvalidPushType'];
  if (headers['apns-id'] !== undefined && !UUID.test(headers['apns-id'])) return [400, 'BadMessageId'];
  const priority = headers['apns-priority'];
  if (priority !== undefined && !['1', '5', '10'].includes(priority)) return [400, 'BadPriority'];
  if (headers['apns-push-type'] === 'background' && priority !== '5') return [400, 'BadPriority'];
  const expiration = headers['apns-expiration'];
  if (expiration !== undefined && !/^\d+$/.test(expiration)) return [400, 'BadExpirationDate'];
  if (Buffer.byteLength(headers['apns-collapse-id'] || '') > 64) return [400, 'BadCollapseId'];
  if (body.length > 4096) return [413, 'PayloadTooLarge'];
  let payload;
  try { payload = JSON.parse(body); } catch { return [400, 'PayloadEmpty']; }
  return payload && typeof payload.aps === 'object' ? null : [400, 'PayloadEmpty'];
}

function answer(stream, headers, status, reason, more) {
  if (stream.destroyed || stream.closed) return;
  const id = headers['apns-id'] || crypto.randomUUID();
  if (status === 200) { stream.respond({ ':status': 200, 'apns-id': id, ...more }, { endStream: true }); return; }
  stream.respond({ ':status': status, 'apns-id': id, 'content-type': 'application/json', ...more });
  stream.end(reason === null ? '' : JSON.stringify(status === 410 ? { reason, timestamp: Date.now() } : { reason }));
}

function strike(session, stream, headers, fault) {
  if (fault === 'hang') return;
  if (fault === 'drop') session.destroy();
  if (fault === 'refuse') stream.close(http2.constants.NGHTTP2_REFUSED_STREAM);
  if (fault === 'reset') stream.close(http2.constants.NGHTTP2_INTERNAL_ERROR);
  if (fault === 'no_error') stream.close(http2.constants.NGHTTP2_NO_ERROR);
  if (fault === 'goaway') {
    session.leaving = stream.id;
    session.goaway(http2.constants.NGHTTP2_NO_ERROR, stream.id - 2);
    setTimeout(() => session.destroy(), 1000); // what was answered before is on its way still
  }
  if (fault === 'goaway_calm') {
    session.leaving = stream.id;
    session.goaway(http2.constants.NGHTTP2_ENHANCE_YOUR_CALM, stream.id - 2);
    setTimeout(() => session.destroy(), 1000); // what was answered before is on its way still
  }
  if (fault === 'goaway_taken') {
    session.leaving = stream.id;
    session.goaway(http2.constants.NGHTTP2_NO_ERROR, stream.id);
    setTimeout(() => session.raw.destroy(), 50);
  }
  if (fault === 'goaway_after') { answer(stream, headers, 200, null); session.close(); }
}

function onStream(session, stream, headers) {
  count += 1;
  streams += 1;
  most_streams = Math.max(most_streams, streams);
  stream.on('close', () => { streams -= 1; });
  stream.on('error', () => {});
  const chunks = [];
  stream.on('data', (chunk) => chunks.push(chunk));
  stream.on('end', () => {
    if (session.leaving) return; // it said that it would not look at these
    const body = Buffer.concat(chunks);
    if (options.silent.includes(headers[':path'].slice('/3/device/'.length))) return;
    const next = script.shift();
    if (options.keep_bodies) requests.push({ headers, body: body.toString(), fault: (next && next.fault) || '' });
    if (next && next.fault) return strike(session, stream, headers, next.fault);
    if (next) return answer(stream, headers, next.status, next.reason === undefined ? null : next.reason, next.headers);
    const found = problem(headers, body);
    return found ? answer(stream, headers, found[0], found[1]) : answer(stream, headers, 200, null);
  });
}

const settings = { maxConcurrentStreams: options.max_streams };
const server = options.key
  ? http2.createSecureServer({ key: fs.readFileSync(options.key), cert: fs.readFileSync(options.cert), allowHTTP1: false, settings })
  : http2.createServer({ settings });
let accepted = null; // the session of a connection is made in the same turn
server.prependListener(options.key ? 'secureConnection' : 'connection', (socket) => { accepted = socket; });
server.on('session', (session) => {
  session.raw = accepted;
  connections += 1;
  sessions.add(session);
  session.on('close', () => sessions.delete(session));
  session.on('error', () => {});
  session.on('stream', (stream, headers) => onStream(session, stream, headers));
});
server.on('sessionError', () => {});
server.listen(options.port, '127.0.0.1', () => say('listening', { port: server.address().port }));

readline.createInterface({ input: process.stdin }).on('line', (line) => {
  const command = JSON.parse(line);
  if (command.cmd === 'set') Object.assign(options, command.options);
  if (command.cmd === 'next') script.push(...command.answers);
  if (command.cmd === 'drop') for (const session of sessions) session.destroy();
  const told = { count, connections, most_streams, tokens: judged.size };
  if (command.cmd === 'requests') { told.requests = requests; requests = []; }
  say('done', told);
}).on('close', () => process.exit(0));
