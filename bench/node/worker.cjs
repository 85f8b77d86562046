// A live process of one side, which does what `run.mjs` asks of it. The side is in what was required before this file: nothing,
// the peer's `init.js`, or our preload; here both sides do the same.
'use strict';

const { readFileSync } = require('node:fs');
const path = require('node:path');
const { Worker } = require('node:worker_threads');

const side = process.env.BENCH_SIDE;
const ours = side === 'ours' ? require('../../bindings-node/js/index.cjs') : null;
const clock = process.hrtime.bigint;
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
/** Nanoseconds that the process has run, its threads included: what others do on the machine is not in it. */
const cpu = () => Object.values(process.cpuUsage()).reduce((a, b) => a + b) * 1000;

/** What the heap holds besides. */
const ballast = [];
for (let i = 0; i < Number(process.env.BENCH_HEAP_MB ?? 0) * 8192; i += 1) ballast.push({ i, name: `ballast ${i}`, next: null });

const needed = new Map();
const need = (file) => needed.get(file) ?? needed.set(file, require(file)).get(file);

/** A loop of its own for each function, so that none is slower for what another one did to it. */
const loops = new Map();
function loopOf(name, twin) {
  const key = `${name}${twin}`;
  if (!loops.has(key)) {
    const [probed, bare, argument] = need('./targets.cjs').targets[name];
    // Of one text the engine would make one function, and the loops would share what it has learnt of them.
    const text = `return function ${name}${twin}(n) { let s = 0; const t = clock(); for (let i = 0; i < n; i++) s += f(i, x); return Number(clock() - t) / n; }`;
    const make = new Function('f', 'x', 'clock', text);
    loops.set(key, make(twin ? bare : probed, argument, clock));
  }
  return loops.get(key);
}

/** Nanoseconds of a hit, as the difference of a call and one of the twin. */
async function hot({ name, calls, blocks }) {
  const found = [];
  for (let block = 0; block < blocks; block += 1) {
    const bare = loopOf(name, true)(calls);
    found.push({ hit: loopOf(name, false)(calls) - bare, bare });
    // What waits is taken away, so that no hit finds the queue full.
    if (ours) await ours.flush(10);
  }
  return found;
}

/** The same of a single call after a rest, when nothing is in the core's caches. */
async function cold({ name, rest }) {
  const [probed, bare, argument] = need('./targets.cjs').targets[name];
  const once = async (f) => {
    await sleep(rest);
    const begin = clock();
    f(1, argument);
    return Number(clock() - begin);
  };
  const twin = await once(bare);
  return { hit: (await once(probed)) - twin, bare: twin };
}

/** Per cent of the time that calls take more than those of the twin, a call in each turn of a timer. */
async function share({ name, seconds }) {
  const [probed, bare, argument] = need('./targets.cjs').targets[name];
  const timed = (f) => {
    const begin = clock();
    f(1, argument);
    return Number(clock() - begin);
  };
  const begin = clock();
  let [more, calls] = [0, 0];
  while (Number(clock() - begin) < seconds * 1e9) {
    more -= timed(bare);
    more += timed(probed);
    calls += 1;
    await sleep(1);
  }
  return { percent: (more / Number(clock() - begin)) * 100, calls: calls / seconds };
}

async function awaits({ n }) {
  const add = async (x) => x + 1;
  let sum = 0;
  const begin = cpu();
  for (let i = 0; i < n; i += 1) sum = await add(sum);
  return (cpu() - begin) / n;
}

let app = null;
async function requests({ n }) {
  app ??= need('./web.cjs').service();
  const begin = cpu();
  for (let i = 0; i < n; i += 1) {
    const { statusCode } = await app.inject('/cart/abc');
    if (statusCode !== 200) throw new Error(`the service answers ${statusCode}`);
  }
  return (cpu() - begin) / n;
}

let parse = null;
function parses({ n, folder }) {
  // From a folder that is none of a package's, the parsers count as the application's own.
  const from = (name) => require(folder ? path.join(folder, `${name.replace('/', '_')}.cjs`) : name);
  parse ??= need('./parsers.cjs').suite(from);
  const begin = cpu();
  for (let i = 0; i < n; i += 1) parse();
  return (cpu() - begin) / n;
}

// ---- how long the event loop stands still ----

let longest = 0;
let last = 0n;
let watching = false;

function watch() {
  watching = true;
  longest = 0;
  last = clock();
  const turn = () => {
    if (!watching) return;
    const time = clock();
    if (Number(time - last) > longest) longest = Number(time - last);
    last = time;
    setImmediate(turn);
  };
  setImmediate(turn);
}

function unwatch() {
  watching = false;
  return longest;
}

/** The thread from which ours is given probes, as the peer is by a thread of its own. */
let other = null;
function asked(message) {
  other ??= new Worker(path.join(__dirname, 'other.cjs')).on('error', (error) => {
    throw error;
  });
  return new Promise((resolve) => {
    other.once('message', resolve);
    other.postMessage(message);
  });
}

/** Nanoseconds for which the loop stood still as a probe came, and as nothing happened for as long. */
async function attach({ definition }) {
  const { attached } = need('./attached.cjs');
  for (let i = 0; i < 1e5; i += 1) attached(i);
  await asked({});
  watch();
  const begin = clock();
  await asked({ add: definition });
  while (!ours.status().some(({ id, state }) => id === definition.id && state !== 'received')) await sleep(1);
  const milliseconds = Number(clock() - begin) / 1e6;
  await sleep(2);
  const stall = unwatch();
  attached(1);
  watch();
  await sleep(milliseconds + 2);
  const control = unwatch();
  await asked({ remove: definition.id });
  await sleep(5);
  return { stall, control, milliseconds };
}

async function memory({ hits, name }) {
  const step = 1000;
  for (let done = 0; name && done < hits; done += step) {
    const began = performance.now();
    loopOf(name, false)(step);
    if (ours) await ours.flush(10);
    // Hits without a rest would use the budget up, which is at most a whole core.
    await sleep((performance.now() - began) / 2);
  }
  await sleep(500);
  for (let i = 0; i < 4; i += 1) {
    global.gc();
    await sleep(50);
  }
  return process.memoryUsage().rss;
}

/** Milliseconds per MB of source for which a module waits for its guards. */
function rewrite({ files }) {
  const addon = require('../../bindings-node/js/addon.cjs');
  const found = [];
  for (const file of files) {
    const text = readFileSync(require.resolve(file), 'utf8');
    const begin = clock();
    const guarded = addon.load(0, `/bench/${file}.cjs`, text, 'commonjs', '$bench');
    if (guarded === null) throw new Error(`${file} has no guards`);
    found.push({ file, bytes: text.length, ms: Number(clock() - begin) / 1e6 });
  }
  return found;
}

async function status() {
  if (!ours) return [];
  await ours.flush(10);
  return ours.status();
}

const version = () => {
  if (ours) return ours.version;
  return side === 'peer' ? require(`${process.env.BENCH_PEER}/package.json`).version : process.version;
};

const operations = { attach, awaits, cold, hot, memory, need: ({ file }) => void need(file), parses, requests, rewrite, share, status, unwatch, version, watch };

process.on('message', async ({ op, ...given }) => {
  try {
    process.send({ answer: (await operations[op](given)) ?? null });
  } catch (error) {
    process.send({ error: `${side}, ${op}: ${error.stack}` });
  }
});
process.on('disconnect', () => process.exit(0));
if (process.env.BENCH_NEED) need(process.env.BENCH_NEED);
if (process.env.BENCH_WATCH) watch();
