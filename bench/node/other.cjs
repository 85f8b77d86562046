// A thread of the measured process that gives it probes.
'use strict';

const { parentPort } = require('node:worker_threads');
const ours = require('../../bindings-node/js/index.cjs');

parentPort.on('message', ({ add, remove }) => {
  if (add) ours.addProbe(add);
  if (remove) ours.removeProbe(remove);
  parentPort.postMessage(null);
});
