// Threads of ours, which the program's listeners for `worker` are not told of.
'use strict';

const { functionText, includes } = require('./primordials.cjs');

const { apply } = Reflect;

let starts = false;

/** True while a thread of ours is being started. */
const isOurs = () => starts;

/** Starts a thread: Node would tell of it with the next tick. */
function unseen(start) {
  const { nextTick } = process;
  process.nextTick = function (callback) {
    if (typeof callback === 'function' && includes(functionText(callback), "process.emit('worker'")) return undefined;
    return apply(nextTick, process, arguments);
  };
  starts = true;
  try {
    return start();
  } finally {
    starts = false;
    process.nextTick = nextTick;
  }
}

module.exports = { isOurs, unseen };
