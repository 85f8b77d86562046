'use strict';

const { work } = require('./work.cjs');

console.log(work(1), globalThis.loaded?.length);
