'use strict';

function work(n) {
  const next = n + 1;
  return next;
}

module.exports = { work };
