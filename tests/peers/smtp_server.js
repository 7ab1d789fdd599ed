// npm `smtp-server` as receiving mail system: prints one JSON line per event; ends when stdin closes.
const { SMTPServer } = require('smtp-server');

const say = (event) => process.stdout.write(`${JSON.stringify(event)}\n`);
const server = new SMTPServer({
  authOptional: true, disabledCommands: [], size: 1000000, enhancedStatusCodes: true,
  onAuth: (auth, session, done) => done(auth.username === 'ann' && auth.password === 'right' ? null : new Error('no'), { user: auth.username }),
  onRcptTo: (address, session, done) => done(address.address.startsWith('nobody') ? Object.assign(new Error('no such user'), { responseCode: 550 }) : undefined),
  onData: (stream, session, done) => {
    const pieces = [];
    stream.on('data', (piece) => pieces.push(piece));
    stream.on('end', () => {
      say({ event: 'mail', from: session.envelope.mailFrom, to: session.envelope.rcptTo, secure: session.secure, user: session.user,
            raw: Buffer.concat(pieces).toString('base64') });
      done(null, 'kept');
    });
  },
});
server.on('error', (error) => say({ event: 'error', text: String(error) }));
server.listen(0, '127.0.0.1', () => say({ event: 'listening', port: server.server.address().port }));
process.stdin.resume();
process.stdin.on('end', () => process.exit(0));
