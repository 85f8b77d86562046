'use strict';

function hold(value) {
  return typeof value;
}

async function change(map, changed) {
  await changed;
  return map.size;
}

module.exports = { change, hold };
