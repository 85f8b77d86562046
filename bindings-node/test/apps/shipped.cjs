'use strict';

// Functions that a program sends elsewhere as texts: each needs nothing but its arguments.
function plain(n) {
  const more = n + 1;
  return more * 2;
}
const arrow = (n) => n * 3;
async function later(n) {
  await null;
  return n * 4;
}
function* counted(n) {
  yield n * 5;
}
class Till {
  static ring(n) {
    return n * 6;
  }
}

module.exports = { plain, arrow, later, counted, ring: Till.ring };
