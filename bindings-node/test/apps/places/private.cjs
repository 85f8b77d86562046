'use strict';

class Box {
  #code = 7;
  #lid = { open: false };
  static #count = 1;
  #twice() { return 2; }
  get #never() { throw new Error('a getter ran'); }

  look(other) {
    const found = [other].map((one) => {
      return one;
    });
    return found;
  }

  static make() {
    return new Box();
  }
}

function early() {
  use();
  let late = 1;
  function use() {
    return () => late;
  }
  use();
  return late;
}

const soon = () => {
  return typeof later;
};

new Box().look(new Proxy(new Box(), { has() { throw new Error('a trap ran'); } }));
Box.make();
early();
try { soon(); } catch {}
const later = 1;
