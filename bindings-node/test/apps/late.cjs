'use strict';

exports.late = function late(given) {
  const n = 2;
  return n + 1;
};
