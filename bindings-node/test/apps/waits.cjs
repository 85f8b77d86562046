'use strict';

function tick(count) {
  const next = count + 1;
  return next;
}

let count = 0;
setInterval(() => {
  count = tick(count);
  if (count === 3) console.log('ready');
}, 5);
