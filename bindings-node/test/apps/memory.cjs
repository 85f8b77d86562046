'use strict';

const all = [];
const more = () => all.push(new Array(10_000).fill(all.length));
more();
setInterval(() => {
  for (let round = 0; round < 100; round += 1) more();
}, 1);
