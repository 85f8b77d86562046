// Functions to which a probe is attached while the program runs.
'use strict';

function attached(i) {
  const twice = i * 2;
  return twice + 1; // probe: attached
}

module.exports = { attached };
