// A debugger of somebody else stops this program at its `debugger`, and lets it go on after a while.
'use strict';

const { Worker } = require('node:worker_threads');

const gate = new Int32Array(new SharedArrayBuffer(8));
const watcher = `
  const { workerData: gate } = require('node:worker_threads');
  const { Session } = require('node:inspector');
  const session = new Session();
  session.connectToMainThread();
  session.on('Debugger.paused', () => {
    Atomics.add(gate, 1, 1);
    setTimeout(() => session.post('Debugger.resume', () => session.disconnect()), 300);
  });
  session.post('Debugger.enable', () => { Atomics.store(gate, 0, 1); Atomics.notify(gate, 0); });
  setInterval(() => {}, 1000);
`;
new Worker(watcher, { eval: true, workerData: gate, execArgv: [], env: {} }).unref();
for (let rounds = 0; Atomics.load(gate, 0) === 0 && rounds < 10_000; rounds += 1) Atomics.wait(gate, 0, 0, 1);

const began = performance.now();
debugger;
const held = performance.now() - began;
console.log(Atomics.load(gate, 1), held > 250 ? 'held' : `not held: ${held}`);
