// All sorts of places; those marked with a star can have a probe, and are reached.
export default function (a) {
  const x = a + 1; // *
  return x; // *
}

class Box {
  static made = [];
  static {
    const start = 7; // *
    Box.made.push(start); // *
  }
  #half = (n) => n / 2; // *
  static #count = 0;
  twice = (n) => {
    const r = n * 2; // *
    return r; // *
  };
  half(n) {
    return this.#half(n); // *
  }
  static #next() {
    return (this.#count += 1); // *
  }
  static make() {
    this.#next(); // *
    return new this(); // *
  }
  get size() {
    return Box.made.length; // *
  }
}

const object = { // *
  get now() {
    const v = 5; // *
    return v; // *
  },
  set now(v) {
    this.kept = v; // *
  },
  ['comp' + 'uted'](z) {
    return z; // *
  },
  async *many(n) {
    yield n; // *
    yield* [n + 1, n + 2]; // *
    for await (const q of [n + 3]) { // *
      yield q; // *
    }
  },
};

// As TypeScript compiles a decorator.
function decorate(target, key) {
  const descriptor = Object.getOwnPropertyDescriptor(target.prototype, key); // *
  const own = descriptor.value; // *
  descriptor.value = function (...given) { // *
    return own.apply(this, given); // *
  };
  Object.defineProperty(target.prototype, key, descriptor); // *
}

class Shop {
  sell(item) {
    return item + '!'; // *
  }
}
decorate(Shop, 'sell'); // *

async function* outer(n) {
  const before = n; // *
  const sent = yield* object.many(n); // *
  return [before, sent]; // *
}

function Old(x) {
  if (!new.target) return new Old(x); // *
  this.x = x; // *
}
Old.prototype = { // *
  get twice() {
    return this.x * 2; // *
  },
  [Symbol.iterator]: function* () {
    yield this.x; // *
  },
};

const concise = async (n) =>
  await n; // *
const nested = ({ a: { b = 2 } = {}, ...rest }, [c, , d = b] = []) => {
  const all = [b, c, d, Object.keys(rest).length]; // *
  return all; // *
};
const first = await concise(5); // *
const box = Box.make(); // *
console.log(first, box.twice(2), box.half(8), box.size); // *
object.now = object.now; // *
console.log(object.computed(3), new Shop().sell('tea')); // *
for await (const value of outer(1)) { // *
  console.log(value); // *
}
import * as me from './forms.mjs';
console.log(me.default(4), nested({ z: 1 }, [7]), Old(3).twice, [...Old(4)]); // *
export const arrow = (n) => // *
  n + 1; // *
export class Late {
  static of(n) {
    return n; // *
  }
}
label: for (const i of [1, 2]) { // *
  if (i > 1) break label; // *
  switch (i) { // *
    case 1: {
      const z = arrow(i); // *
      console.log(Late.of(z)); // *
    }
  }
}
