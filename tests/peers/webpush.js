// The push service of npm `web-push-testing`: checks our VAPID token, decrypts our message. Loopback only.
// Argument: the port. Prints "ready".
'use strict';
const http = require('http');
const { PushApiModel } = require('web-push-testing/src/PushApiModel');
const WebPushTestingServer = require('web-push-testing/src/server');

const port = Number(process.argv[2]);
const server = new WebPushTestingServer(new PushApiModel(), port);
server._app.listen = (_, ready) => http.createServer(server._app).listen(port, '127.0.0.1', ready);
server.startServer();
server._server.on('listening', () => process.stdout.write('ready\n'));
process.stdin.on('end', () => process.exit(0)).resume();
