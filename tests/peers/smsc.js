// An SMSC made of npm `smpp`, so that another's reading of SMPP 3.4 judges ours. Loopback only.
// Options: JSON in SMSC_OPTIONS, changed later by {"cmd": "set", …} on stdin. Events: JSON lines on stdout.
'use strict';
const readline = require('readline');
const smpp = require('smpp');

const options = Object.assign({
  port: 0,
  system_id: 'perf',
  password: 'perf',
  delay_ms: 0,          // before submit_sm_resp
  delay_refusals: false, // before one that refuses, too
  throttle_every: 0,    // every Nth submit_sm gets ESME_RTHROTTLED
  throttle_first: 0,    // the first N submit_sm get ESME_RTHROTTLED
  statuses: {},         // destination -> command_status
  silent: [],           // destinations that never get an answer
  swallow: [],          // destinations whose answer is lost; the receipt comes all the same
  echo_reference: false, // receipts carry the user_message_reference of the submit
  states: {},           // message id -> message_state, for query_sm; others get ESME_RQUERYFAIL
  drop_after: 0,        // close the socket at the Nth submit_sm, unanswered
  receipts: 'after',    // after, before (its submit_sm_resp), none
  receipt_ms: 0,
  receipt_text: '',     // a template with ID in place of the id
  hex_ids: false,       // submit_sm_resp in hex, the receipt in decimal
  bind_status: null,
  ignore_enquire: false,
  log_submits: true,
  // Chances of a submit_sm, drawn from a seeded generator; what is left is answered as usual. Every fate but `throttle`
  // and `error` counts as taken: nobody can know that it was not.
  faults: null,         // {seed, throttle, error, silent, late, late_ms, before, drop, lost}
  log_lag: false,       // tell how late this process gets to what is due, in seconds, as "lag"
}, JSON.parse(process.env.SMSC_OPTIONS || '{}'));

const sessions = new Set();
let submits = 0;
let ids = 1000;

const say = (event, fields) => process.stdout.write(JSON.stringify(Object.assign({ event }, fields)) + '\n');
const now = () => Number(process.hrtime.bigint() / 1000n) / 1e6;

function textOf(pdu) {
  const body = pdu.short_message;
  if (!body || body.message === undefined) return '';
  return Buffer.isBuffer(body.message) ? body.message.toString('latin1') : body.message;
}

function receiver(session) {
  if (session && session.canReceive && !session.closed) return session;
  for (const other of sessions) if (other.canReceive) return other;
  return null;
}

function deliver(session, fields) {
  const target = receiver(session);
  if (!target) return say('undeliverable', {});
  target.deliver_sm(fields, (resp) => say('deliver_resp', { status: resp.command_status, at: now() }));
}

// YYMMDDhhmm, UTC: an attempt whose answer was lost is found by when the carrier says that it was submitted.
const stamp = () => new Date().toISOString().replace(/\D/g, '').slice(2, 12);

function receipt(session, pdu, id) {
  const shown = options.hex_ids ? String(parseInt(id, 16)) : id;
  const text = options.receipt_text ? options.receipt_text.replace('ID', shown)
    : `id:${shown} sub:001 dlvrd:001 submit date:${stamp()} done date:${stamp()} stat:DELIVRD err:000 text:`;
  deliver(session, {
    source_addr: pdu.destination_addr, source_addr_ton: 1, source_addr_npi: 1,
    destination_addr: pdu.source_addr, esm_class: 4, short_message: text,
    ...(options.echo_reference ? { user_message_reference: pdu.user_message_reference } : {}),
  });
}

// mulberry32, so that a seed gives the same fates on every machine.
let state = null;
function random() {
  if (state === null) state = options.faults.seed >>> 0;
  state = (state + 0x6d2b79f5) >>> 0;
  let t = state;
  t = Math.imul(t ^ (t >>> 15), t | 1);
  t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
  return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
}

function fateOf() {
  if (!options.faults) return '';
  let drawn = random();
  for (const name of ['throttle', 'error', 'silent', 'late', 'before', 'drop', 'lost']) {
    drawn -= options.faults[name] || 0;
    if (drawn < 0) return name;
  }
  return '';
}

// What a fault makes of a submit_sm; true where it is dealt with.
function strike(session, pdu, fate) {
  if (fate === 'throttle') session.send(pdu.response({ command_status: smpp.ESME_RTHROTTLED }));
  if (fate === 'error') session.send(pdu.response({ command_status: smpp.ESME_RSYSERR }));
  if (fate === 'drop') session.socket.destroy();
  if (['throttle', 'error', 'drop', 'silent'].includes(fate)) return true;
  if (!['late', 'before', 'lost'].includes(fate)) return false;
  ids += 1;
  const id = String(ids);
  const answer = () => { if (!session.closed) session.send(pdu.response({ message_id: id })); };
  if (fate === 'before') { receipt(session, pdu, id); setTimeout(answer, 20); }
  if (fate === 'late') setTimeout(() => { answer(); receipt(session, pdu, id); }, options.faults.late_ms || 1500);
  if (fate === 'lost') setTimeout(() => receipt(session, pdu, id), options.receipt_ms); // the answer is, the receipt comes
  return true;
}

function onSubmit(session, pdu) {
  submits += 1;
  const to = pdu.destination_addr;
  const fate = fateOf();
  if (options.log_submits) {
    say('submit', {
      at: now(), fate, to, from: pdu.source_addr, text: textOf(pdu),
      // npm `smpp` gives the header's elements without the length octet in front of them.
      udh: pdu.short_message && pdu.short_message.udh ? Buffer.concat([].concat(pdu.short_message.udh)).toString('hex') : '',
      esm_class: pdu.esm_class, data_coding: pdu.data_coding, registered_delivery: pdu.registered_delivery,
      source_ton: pdu.source_addr_ton, source_npi: pdu.source_addr_npi, dest_ton: pdu.dest_addr_ton, dest_npi: pdu.dest_addr_npi,
      validity: pdu.validity_period === undefined ? null : String(pdu.validity_period), sequence: pdu.sequence_number,
      sar: pdu.sar_msg_ref_num === undefined ? null : [pdu.sar_msg_ref_num, pdu.sar_total_segments, pdu.sar_segment_seqnum],
      payload: pdu.message_payload === undefined ? null : (pdu.message_payload.message !== undefined ? pdu.message_payload.message : String(pdu.message_payload)),
      user_ref: pdu.user_message_reference === undefined ? null : pdu.user_message_reference,
    });
  }
  if (strike(session, pdu, fate)) return undefined;
  if (options.drop_after && submits === options.drop_after) { say('dropped', {}); return session.socket.destroy(); }
  if (options.silent.includes(to)) return undefined;
  let status = options.statuses[to] || 0;
  if (options.throttle_every && submits % options.throttle_every === 0) status = smpp.ESME_RTHROTTLED;
  if (submits <= options.throttle_first) status = smpp.ESME_RTHROTTLED;
  if (status) {
    const refuse = () => session.send(pdu.response({ command_status: status }));
    return options.delay_refusals ? setTimeout(refuse, options.delay_ms) : refuse();
  }
  ids += 1;
  const id = options.hex_ids ? ids.toString(16) : String(ids);
  const answer = () => session.send(pdu.response({ message_id: id }));
  if (options.swallow.includes(to)) {
    setTimeout(() => receipt(session, pdu, id), options.receipt_ms);
    return say('swallowed', { id });
  }
  if (options.receipts === 'before') receipt(session, pdu, id);
  if (options.delay_ms) setTimeout(answer, options.delay_ms); else answer();
  if (options.receipts === 'after') setTimeout(() => receipt(session, pdu, id), options.delay_ms + options.receipt_ms);
  return undefined;
}

function onBind(session, pdu, kind) {
  let status = 0;
  if (pdu.system_id !== options.system_id) status = smpp.ESME_RINVSYSID;
  else if (pdu.password !== options.password) status = smpp.ESME_RINVPASWD;
  if (options.bind_status !== null) status = options.bind_status;
  say('bind', { kind, status, system_id: pdu.system_id, system_type: pdu.system_type, version: pdu.interface_version });
  session.send(pdu.response({ command_status: status, system_id: 'node-smsc' }));
  if (status) return session.close();
  session.canReceive = kind !== 'transmitter';
  session.systemType = pdu.system_type;
  sessions.add(session);
  return undefined;
}

const server = smpp.createServer((session) => {
  for (const kind of ['transceiver', 'transmitter', 'receiver']) {
    session.on(`bind_${kind}`, (pdu) => onBind(session, pdu, kind));
  }
  session.on('submit_sm', (pdu) => onSubmit(session, pdu));
  session.on('query_sm', (pdu) => {
    const state = options.states[pdu.message_id];
    say('query', { id: pdu.message_id, from: pdu.source_addr, ton: pdu.source_addr_ton });
    session.send(pdu.response(state === undefined ? { command_status: smpp.ESME_RQUERYFAIL }
      : { message_id: pdu.message_id, final_date: '', message_state: state, error_code: 7 }));
  });
  session.on('enquire_link', (pdu) => {
    say('enquire_link', {});
    if (!options.ignore_enquire) session.send(pdu.response());
  });
  session.on('unbind', (pdu) => { say('unbind', {}); session.send(pdu.response()); session.close(); });
  session.on('close', () => { session.closed = true; sessions.delete(session); say('close', { system_type: session.systemType === undefined ? null : session.systemType }); });
  session.on('error', () => {});
});

const commands = {
  set: (line) => { Object.assign(options, line.options); if (line.reset) submits = 0; if (line.options.faults) state = null; },
  mo: (line) => deliver(null, {
    source_addr: line.from, source_addr_ton: 1, source_addr_npi: 1, destination_addr: line.to,
    data_coding: line.data_coding || 0, short_message: line.text,
  }),
  part: (line) => deliver(null, {
    source_addr: line.from, source_addr_ton: 1, source_addr_npi: 1, destination_addr: line.to, esm_class: 0x40,
    data_coding: line.data_coding || 0, short_message: {
      udh: Buffer.from(line.udh, 'hex'), message: line.hex === undefined ? line.text : Buffer.from(line.hex, 'hex'),
    },
  }),
  drop: () => { for (const session of sessions) session.socket.destroy(); },
  unbind: () => { for (const session of sessions) session.unbind(() => session.close()); },
  raw: (line) => { for (const session of sessions) session.socket.write(Buffer.from(line.hex, 'hex')); },
  quit: () => process.exit(0),
};

if (options.log_lag) {
  let due = now();
  setInterval(() => { const at = now(); say('lag', { s: at - due, at }); due = at + 0.005; }, 5);
}

readline.createInterface({ input: process.stdin }).on('line', (text) => {
  const line = JSON.parse(text);
  commands[line.cmd](line);
  say('done', { cmd: line.cmd });
}).on('close', () => process.exit(0));

server.listen(options.port, '127.0.0.1', () => say('listening', { port: server.address().port }));
