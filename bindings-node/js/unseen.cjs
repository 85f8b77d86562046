// Threads of ours, which the program's listeners for `worker` are not told of.
'use strict';

const { functionText, includes } = require('./primordials.cjs');

const { apply } = Reflect;

/** Starts a thread: Node would tell of it with the next tick. */
function unseen(start) {
  const { nextTick } = process;
  process.nextTick = function (callback) {
    if (typeof callback === 'function' && includes(functionText(callback), "process.emit('worker'")) return undefined;
    return apply(nextTick, process, arguments);
  };
  try {
    return start();
  } finally {
    process.nextTick = nextTick;
  }
}

module.exports = { unseen };
