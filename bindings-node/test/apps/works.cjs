'use strict';

// Calls `work`, `other` and `beat` with 1, 2, 3 … until its input ends, and answers questions line by line.
const readline = require('node:readline');

function work(x) {
  return x;
}

function other(x) {
  return x;
}

function beat(x) {
  return x;
}

let x = 0;
const going = setInterval(() => {
  x += 1;
  work(x);
  other(x);
  beat(x);
}, 10);

const lines = readline.createInterface({ input: process.stdin });
lines.on('line', async (line) => console.log(await eval(line)));
lines.on('close', () => clearInterval(going));
