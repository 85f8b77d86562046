'use strict';

const { isMainThread, Worker } = require('node:worker_threads');
const { work } = require('./work.cjs');

work(0);
if (isMainThread) {
  for (let n = 0; n < 2; n += 1) new Worker(__filename).on('message', (text) => console.log(text));
}
