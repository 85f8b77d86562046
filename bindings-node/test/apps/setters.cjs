'use strict';
const got = [];
const names = ['names', 'brand', 'type', 'session', 'of', 'shape', 'at', 'site', 'file', 'line', 'probe', 'slot', 'kind', 'text'];
for (const name of names) {
  Object.defineProperty(Object.prototype, name, { configurable: true, get: () => undefined, set: (value) => got.push([name, value]) });
}
class Box { a = 1; }
function open(box) {
  return box;
}
open(new Box());
console.log(JSON.stringify(got));
