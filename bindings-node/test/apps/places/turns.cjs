// Async functions that wait for nothing, each beside a chain of promises that counts turns of microtasks.
'use strict';
async function plain(x) {
  return x;
}
const concise = async (x) => x;
async function promised(x) {
  return Promise.resolve(x);
}
async function fails(x) {
  throw new Error(x);
}
async function nested(x) {
  const inner = async () => await x;
  void inner;
  return x;
}
const box = {
  async method(x) {
    return x;
  },
};

async function turns(call) {
  let turn = 0;
  let settled = null;
  const done = () => (settled = turn);
  call('x').then(done, done);
  for (; settled === null; turn += 1) await null;
  return settled;
}

(async () => {
  const found = [];
  for (const call of [plain, concise, promised, fails, nested, box.method]) found.push(await turns(call));
  console.log('turns', found.join(' '));
})();
