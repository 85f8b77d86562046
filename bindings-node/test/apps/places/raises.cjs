'use strict';
// Functions that end by an exception, somewhere before their last line.
function fails() {
  throw new Error('over');
}

function inLoop(left) {
  while (left > 0) {
    left -= 1;
    if (left === 1) fails();
  }
}

function inTest() {
  let turns = 0;
  do {
    turns += 1;
  } while (turns < 2 || fails());
  return turns;
}

const concise = () =>
  fails();

class Till {
  #drawer = { open: () => fails() };

  look() {
    const { open } = this.#drawer;
    for (const one of [open]) {
      one();
    }
    return open;
  }
}

function* each() {
  yield 1;
  fails();
  yield 2;
}

async function later() {
  await null;
  fails();
  return 1;
}

const calls = [() => inLoop(3), inTest, concise, () => new Till().look(), () => [...each()]];
for (const call of calls) {
  try {
    call();
  } catch {
    // It is what they are for.
  }
}
later().catch(() => {});
