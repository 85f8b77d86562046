#!/usr/bin/env node
'use strict';

const prices = [1, 2, 3];
let total = 0;
for (const price of prices) {
  total += price;
}
debugger; // nobody stops here
console.log(total);
