// The same in a module of ES.
Error.stackTraceLimit = 50;
const fail = (what) => { if (what) throw new Error('failed: ' + what); return what }; const twice = (what) => fail(what) + 1;
class Cart { #sum; constructor(sum) { this.#sum = twice(sum) } get total() { return twice(3) } static make() { return new Cart(1) } }
function all() { return [1].map((one) => twice(one)) }
async function later() { await 0; return all() }
async function latest() { try { await later() } finally { await 0 } }
function* items() { yield 1; yield all() }
const calls = [() => twice(1), () => Cart.make().total.now.then, () => all(), () => Object.create(Cart.prototype).total, () => [...items()]];
for (const call of calls) { try { call() } catch (error) { console.log(error.stack) } }
latest().catch((error) => {
  console.log(error.stack);
  const before = Error.prepareStackTrace;
  Error.prepareStackTrace = (_, sites) => sites.map((site) => `${site.getFunctionName()} ${site.getLineNumber()}:${site.getColumnNumber()} ${site}`).join('\n');
  try { twice(2) } catch (error) { console.log(error.stack) }
  Error.prepareStackTrace = before;
  class Mine extends Error {}
  Mine.prepareStackTrace = () => 'mine';
  console.log(Object.hasOwn(Mine, 'prepareStackTrace'), new Error('again').stack.split('\n')[1]);
  console.log(new Mine().stack);
});
