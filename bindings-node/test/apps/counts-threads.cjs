// Counts the threads that are started; it has a module of ES, for which older Nodes need one for hooks.
const { Worker } = require('node:worker_threads');

let threads = 0;
process.on('worker', () => { threads += 1; });

import('./top.mjs').then(() => {
  new Worker('', { eval: true }).on('exit', () => console.log(threads, threads === 1 ? 'thread' : 'threads'));
});
