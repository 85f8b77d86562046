'use strict';

const inner = (n) => { const m = n + 1; return watched(m); };
function watched(n) { const twice = n * 2; if (twice > 10) fail(twice); return twice; }

function fail(n) {
  throw new RangeError(`too much: ${n}`);
}

class Till {
  constructor(n) { this.n = n; }
  get sum() { return inner(this.n); }
  async later() {
    await null;
    const sum = this.sum; return watched(sum);
  }
}

function mapped(a) {
  arguments[0] = a - 1;
  return watched(a);
}

const till = new Till(1);
mapped(2);
till.later().then(() => inner(5));
