// Probes where no guard reaches: a debugger watches for them, in programs of their own.
import './processes.mjs';
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import Module from 'node:module';
import test from 'node:test';
import { fileURLToPath } from 'node:url';

const index = fileURLToPath(new URL('../js/index.cjs', import.meta.url));
const apps = fileURLToPath(new URL('apps/', import.meta.url));
const bin = fileURLToPath(new URL('../bin/stroboscope.mjs', import.meta.url));

/** The events that a command wrote to standard output, what else it wrote there, and its end. */
function events(...words) {
  // On a busy machine a breakpoint costs more than the budget: what that does is not looked at here.
  const env = { ...process.env, STROBE_CPU_BUDGET: '100' };
  const options = { cwd: apps, encoding: 'utf8', timeout: 60_000, env };
  const all = ['run', '--json', '-', '--rate', 'all', ...words];
  const { stdout, stderr, status } = spawnSync(process.execPath, [bin, ...all], options);
  const lines = stdout.split('\n');
  return {
    events: lines.filter((line) => line.startsWith('{')).map((line) => JSON.parse(line)),
    printed: lines.filter((line) => !line.startsWith('{')).join('\n').trim(),
    status,
    stderr,
  };
}

/** Runs a program that has `strobe` and prints one value as JSON; what is on standard error, too. */
function answer(body, { options = [], settings = {} } = {}) {
  const program = `
    const strobe = require(${JSON.stringify(index)});
    const start = () => strobe.start({ terminal: 'never', ...${JSON.stringify(settings)} });
    const sleep = (time) => new Promise((done) => setTimeout(done, time));
    const until = async (holds) => { for (let round = 0; !holds() && round < 500; round += 1) await sleep(10); };
    const line = (id, sourceFile, number, more) =>
      strobe.addProbe({ id, type: 'LOG_PROBE', where: { sourceFile, lines: [String(number)] }, sampling: { snapshotsPerSecond: 5000 }, ...more });
    (async () => {
      const answer = await (async () => { ${body} })();
      console.log(JSON.stringify(answer));
    })();`;
  const run = spawnSync(process.execPath, [...options, '-e', program], { cwd: apps, encoding: 'utf8', timeout: 60_000 });
  assert.equal(run.status, 0, run.stderr);
  return { ...JSON.parse(run.stdout.trim().split('\n').at(-1)), stderr: run.stderr };
}

const captures = (event, line) => event.debugger.snapshot.captures.lines[String(line)];

test('the top level of a module is seen as it runs, and nothing stops', () => {
  const { events: found, printed, status, stderr } = events('--at', 'top.cjs:7', '--', 'top.cjs');
  assert.deepEqual([printed, status], ['6', 0], stderr);
  assert.deepEqual(found.map((event) => captures(event, 7).locals.total.value), ['0', '1', '3'], stderr);
  assert.equal(captures(found[0], 7).locals.price.value, '1');
  assert.deepEqual(captures(found[0], 7).arguments, {});
  const [frame] = found[0].debugger.snapshot.stack;
  assert.deepEqual([frame.fileName.endsWith('top.cjs'), frame.lineNumber], [true, 7], JSON.stringify(frame));
  assert.doesNotMatch(stderr, /Waiting for the debugger/);
});

test('and of a module of ES; what is not bound yet is absent', () => {
  const { events: found, printed, stderr } = events('--at', 'top.mjs:5', '--log', '{sum} {later}', '--capture', '--', 'top.mjs');
  assert.equal(printed, '9 undefined', stderr);
  assert.deepEqual(found.map((event) => event.message), ['9 undefined'], stderr);
  const first = events('--at', 'top.mjs:3', '--', 'top.mjs');
  assert.equal(captures(first.events[0], 3).locals.sum, undefined, first.stderr);
});

test('nobody looks at a class where a debugger would stop in its constructor', () => {
  const { events: found, printed, status, stderr } = events('--at', 'classes.cjs:5', '--', 'classes.cjs');
  assert.deepEqual([found.length, printed, status], [0, '1', 0], stderr);
  assert.match(stderr, /a debugger would stop in the constructor of the class: use another line/);
});

test('several probes at a place all see it, also when one of them goes', () => {
  const words = ['--at', 'top.cjs:7', '--log', 'one {total}', '--at', 'top.cjs:7', '--log', 'two {price}'];
  const { events: found, stderr } = events(...words, '--', 'top.cjs');
  const messages = found.map((event) => event.message).sort();
  assert.deepEqual(messages, ['one 0', 'one 1', 'one 3', 'two 1', 'two 2', 'two 3'], stderr);
  const { left } = answer(`
    start();
    for (const id of ['a', 'b']) line(id, 'refused.cjs', 6);
    require(process.cwd() + '/refused.cjs');
    await until(() => strobe.status().every((one) => one.hits === 2));
    strobe.removeProbe('a');
    await sleep(300);
    delete require('node:module')._cache[process.cwd() + '/refused.cjs'];
    require(process.cwd() + '/refused.cjs');
    await until(() => strobe.status()[0].hits >= 4);
    return { left: strobe.status().map((one) => [one.id, one.hits]) };`);
  assert.deepEqual(left, [['b', 4]]);
});

test('a function that cannot be rewritten is seen all the same, and the status says how and why', () => {
  const { events: found, printed, stderr } = events(
    '--at', 'refused.cjs:6', '--when', "result == 2 && code == '2'", '--', 'refused.cjs',
  );
  assert.equal(printed, '22 22 tea', stderr);
  assert.equal(found.length, 1, stderr);
  const { arguments: given, locals } = captures(found[0], 6);
  assert.deepEqual([given.code.value, locals.own.value, locals.result.value], ['2', '20', '2']);
  const stack = found[0].debugger.snapshot.stack.map((frame) => `${frame.function}:${frame.lineNumber}`);
  assert.equal(stack[0], 'evaluated:6', stack.join(' '));
  assert.match(stack[1], /:18$/, stack.join(' '));
});

test('a condition that fails shows where, and the probe goes on', () => {
  const { events: found, printed, stderr } = events('--at', 'refused.cjs:6', '--when', 'code.nothing == 1', '--', 'refused.cjs');
  assert.equal(printed, '22 22 tea', stderr);
  const stacks = found.map((event) => event.debugger.snapshot.stack.map((frame) => `${frame.function}:${frame.lineNumber}`));
  assert.deepEqual(stacks.map(([first]) => first), ['evaluated:6'], `${stacks}`);
});

// V8 would bind `this` as it looks, and `super()` would fail.
test('nobody looks at the constructor of a derived class', () => {
  const { events: found, printed, stderr } = events('--at', 'refused.cjs:13', '--', 'refused.cjs');
  assert.deepEqual([found.length, printed], [0, '22 22 tea'], stderr);
  assert.match(stderr, /it calls eval.*and a debugger that looks at the constructor of a derived class can make its super\(\) fail/);
});

test('the status says which tier and why', () => {
  const { placed } = answer(`
    start();
    line('a', 'refused.cjs', 6);
    require(process.cwd() + '/refused.cjs');
    await until(() => strobe.status()[0].hits === 2);
    await strobe.flush();
    return { placed: strobe.status()[0] };`);
  assert.deepEqual([placed.state, placed.hits], ['emitting', 2], JSON.stringify(placed));
  assert.match(placed.note, /conditional breakpoint \(tier B\), since it calls eval/);
});

test('calls that run already are seen, and later ones once', () => {
  const { placed, messages } = answer(`
    start();
    const queue = require(process.cwd() + '/queue.cjs');
    await sleep(50);
    line('a', 'queue.cjs', 10, { template: '{seen} {item}' });
    for (const item of ['x', 'y']) { queue.put(item); await sleep(20); }
    await until(() => strobe.status()[0].emitted === 2);
    await strobe.flush();
    return { placed: strobe.status()[0] };`, { settings: { ndjson: '/dev/null' } });
  assert.equal(placed.hits, 2, JSON.stringify(placed));
  assert.match(placed.note, /calls that run since before/);
});

test('a debugger looks for calls that run already only as long as there are some', () => {
  const { placed, inLoop, after } = answer(`
    start();
    const queue = require(process.cwd() + '/queue.cjs');
    await sleep(50);
    line('a', 'queue.cjs', 10, { template: '{seen} {item}' });
    await until(() => strobe.status()[0].note);
    const inLoop = strobe.status()[0].note;
    for (let round = 0; !/none has come by/.test(strobe.status()[0].note) && round < 200; round += 1) await sleep(100);
    queue.put('y');
    await sleep(50);
    return { placed: strobe.status()[0], inLoop, after: strobe.status()[0].hits };`, { settings: { ndjson: '/dev/null' } });
  assert.match(inLoop, /until ten seconds after the last of them/);
  assert.match(placed.note, /calls that run since before the probe was set are not seen: none has come by for ten seconds/);
  assert.equal(after, 0);
});

test('a module that was loaded before is seen', () => {
  const { placed, found } = answer(`
    const cart = require(process.cwd() + '/total.cjs');
    start();
    line('a', 'total.cjs', 6, { template: '{sum}' });
    const placed = strobe.status()[0];
    cart.total([1, 2]);
    await until(() => strobe.status()[0].hits === 2);
    return { placed, found: strobe.status()[0].hits };`);
  assert.match(placed.note ?? placed.reason, /loaded before stroboscope started/);
  assert.equal(found, 2);
});

test('a probe that goes takes its breakpoints and the debugger with it', () => {
  const { seen, after } = answer(`
    const cart = require(process.cwd() + '/total.cjs');
    start();
    line('a', 'total.cjs', 6, { template: '{sum}' });
    cart.total([1]);
    await until(() => strobe.status()[0].hits === 1);
    const names = () => Object.getOwnPropertyNames(globalThis).filter((name) => /^\\$strobe_.*w\\d+$/.test(name)).length;
    const seen = names();
    strobe.removeProbe('a');
    await until(() => names() === 0);
    return { seen, after: names() };`);
  assert.deepEqual([seen, after], [1, 0]);
});

test('a method is seen at its entry, and its end is refused with what to do', () => {
  const { entry, exit } = answer(`
    start();
    const method = (id, more) => strobe.addProbe({ id, type: 'LOG_PROBE', where: { sourceFile: 'refused.cjs', methodName: 'evaluated' }, template: '{code}', ...more });
    method('a', { evaluateAt: 'ENTRY' });
    method('b', { evaluateAt: 'EXIT' });
    require(process.cwd() + '/refused.cjs');
    await until(() => strobe.status()[0].hits === 2);
    const [entry, exit] = strobe.status();
    return { entry, exit };`);
  assert.equal(entry.hits, 2, JSON.stringify(entry));
  assert.equal(exit.state, 'error');
  assert.match(exit.reason, /calls eval.*how a call of it ends cannot be seen: use a line probe/);
});

test('a probe without a token costs nothing until it has one', () => {
  const { placed, runs } = answer(`
    const { total } = require(process.cwd() + '/total.cjs');
    start();
    line('a', 'total.cjs', 6, { template: '{sum}', captureSnapshot: true, sampling: { snapshotsPerSecond: 1 } });
    const many = Array.from({ length: 20_000 }, () => 1);
    let runs = 0;
    await until(() => { total(many); runs += many.length; return strobe.status()[0].emitted >= 3; });
    return { placed: strobe.status()[0], runs };`);
  assert.ok(placed.emitted >= 3, JSON.stringify(placed));
  assert.ok(placed.hits < runs / 10, `${placed.hits} of ${runs}`);
});

test('a debugger of somebody else stops the program as long as it wants', () => {
  const { events: found, printed, stderr } = events('--at', 'paused.cjs:25', '--log', 'held', '--', 'paused.cjs');
  assert.equal(printed, '1 held', stderr);
  assert.deepEqual(found.map((event) => event.message), ['held'], stderr);
});

test('a program that debugs itself is told of its pauses, goes on, and has its probes', () => {
  const words = ['--at', 'debugs-itself.cjs:20', '--log', '{turn}', '--', 'debugs-itself.cjs'];
  const { events: found, printed, status, stderr } = events(...words);
  assert.deepEqual([status, printed], [0, '60 120 120 true'], stderr);
  const turns = found.map((event) => Number(event.message));
  // Its breakpoints are away for a moment after each pause, and there again after the long wait.
  assert.ok(turns.includes(0) && turns.includes(10), `${turns}`);
  assert.doesNotMatch(stderr, /Waiting for the debugger/);
});

test('listeners for threads are told of those of the program only', () => {
  const { events: found, printed, stderr } = events('--at', 'counts-threads.cjs:7', '--log', 'x', '--', 'counts-threads.cjs');
  assert.deepEqual([printed, found.length], ['9 undefined\n1 thread', 1], stderr);
});

test('short of memory the program ends as it would', () => {
  const words = [bin, 'run', '--at', 'memory.cjs:5', '--log', 'begins', '--', process.execPath, '--max-old-space-size=60', 'memory.cjs'];
  const { status, signal, stderr } = spawnSync(process.execPath, words, { cwd: apps, encoding: 'utf8', timeout: 60_000 });
  assert.ok(status === 134 || signal === 'SIGABRT' || signal === 'SIGTRAP', `${status} ${signal} ${stderr}`);
  assert.match(stderr, /heap out of memory/);
});

test('a worker thread says what does not work there', () => {
  const { reason } = answer(`
    start();
    const { Worker } = require('node:worker_threads');
    line('a', 'refused.cjs', 6);
    new Worker(process.cwd() + '/refused.cjs', { stdout: true });
    await until(() => strobe.status()[0].state === 'error');
    return { reason: strobe.status()[0].reason };`, { options: ['--require', fileURLToPath(new URL('../js/register.cjs', import.meta.url))] });
  assert.match(reason, /a debugger reaches the main thread only/);
});

test('threads that begin without us are told of where a probe waits', () => {
  const { before, reason } = answer(`
    start();
    const { Worker } = require('node:worker_threads');
    line('a', 'work.cjs', 4);
    const before = strobe.status()[0].reason;
    new Worker(process.cwd() + '/work.cjs');
    await until(() => /began without/.test(strobe.status()[0].reason));
    return { before, reason: strobe.status()[0].reason };`);
  assert.doesNotMatch(before, /began without/);
  assert.match(reason, /the probe.* wait.*; worker threads that began without stroboscope \(1 so far\) have no probes: preload it/);
});

test('threads that carry probes are no such threads', () => {
  const { reason } = answer(`
    start();
    const { Worker } = require('node:worker_threads');
    line('a', 'nowhere.cjs', 4);
    const worker = new Worker(process.cwd() + '/work.cjs');
    await new Promise((done) => worker.on('exit', done));
    await sleep(300);
    return { reason: strobe.status()[0].reason };`, { options: ['--require', fileURLToPath(new URL('../js/register.cjs', import.meta.url))] });
  assert.doesNotMatch(reason, /began without/);
});

test('the permission model says what is not allowed', () => {
  const permission = process.allowedNodeEnvironmentFlags.has('--permission') ? '--permission' : '--experimental-permission';
  const options = [permission, '--allow-fs-read=*', '--allow-fs-write=*', '--allow-addons'];
  // Hooks of modules need a thread on an older Node.
  if (!Module.registerHooks) options.push('--allow-worker');
  const { placed } = answer(`
    start();
    line('a', 'refused.cjs', 6);
    require(process.cwd() + '/refused.cjs');
    return { placed: strobe.status()[0] };`, { options });
  assert.equal(placed.state, 'error', JSON.stringify(placed));
  assert.match(placed.reason, /the permission model forbids a debugger/);
});

test('no more than its share is taken from the program, however often it comes by', () => {
  // Of each block it is known what it took, and whether it was hit: what a call itself takes is next to nothing.
  const { tight, turns, reason, state } = answer(`
    const { total } = require(process.cwd() + '/total.cjs');
    start();
    const used = () => { const { user, system } = process.cpuUsage(); return user + system; };
    const hits = () => strobe.status()[0].hits;
    line('a', 'total.cjs', 6, { template: '{sum}', when: { dsl: 'sum == -1', json: { eq: [{ ref: 'sum' }, -1] } } });
    await until(() => /tier B/.test(strobe.status()[0].reason));
    let [lost, all, calls, reason, state] = [0, 0, 20, '', ''];
    const block = (most) => {
      const [before, begin] = [hits(), used()];
      for (let call = 0; call < calls; call += 1) total([1]);
      const took = used() - begin;
      const isHit = hits() > before;
      if (isHit) lost += took;
      all += took;
      calls = isHit ? 20 : most;
      if (state !== 'paused') ({ reason, state } = strobe.status()[0]);
    };
    while (all < 3e6) block(200_000);
    const tight = lost / all;
    strobe.removeProbe('a');
    await sleep(50);
    line('b', 'total.cjs', 6, { template: '{sum}', when: { dsl: 'sum == -1', json: { eq: [{ ref: 'sum' }, -1] } } });
    await until(() => /tier B/.test(strobe.status()[0].reason));
    [lost, calls] = [0, 20];
    for (const end = performance.now() + 4000; performance.now() < end; await sleep(1)) block(20);
    return { tight, turns: lost / 4e6, reason, state };`);
  assert.equal(state, 'paused', reason);
  assert.match(reason, /^paused for 10 s: it used .* of a core over 3 s.*the budget is 2 %; it comes back in (?:10|9) s$/);
  assert.ok(tight < 0.12, `${tight} of a loop`);
  assert.ok(turns < 0.08, `${turns} of a core in turns of a timer`);
});

test('where placing takes more than the budget, what is left is paused and the program goes on', () => {
  const { statuses, sum } = answer(`
    const fs = require('node:fs');
    const folder = fs.mkdtempSync(require('node:path').join(require('node:os').tmpdir(), 'strobe-many-'));
    start();
    const files = Array.from({ length: 20 }, (_, at) => folder + '/many' + at + '.cjs');
    for (const file of files) {
      fs.writeFileSync(file, 'exports.one = 1;\\n');
      line(file, file, 1);
    }
    await strobe.flush();
    let sum = 0;
    for (const file of files) sum += require(file).one;
    await until(() => strobe.status().every(({ state }) => state === 'paused' || state === 'emitting'));
    fs.rmSync(folder, { recursive: true });
    return { statuses: strobe.status().map(({ hits, state, reason }) => ({ hits, state, reason })), sum };`, { settings: { cpuBudget: 0.1, ndjson: '/dev/null' } });
  const waits = /^paused for 10 s: placing probes of its kind took .* of a core, the budget is 0\.1 %/;
  const deferred = statuses.filter(({ reason }) => waits.test(reason));
  assert.equal(sum, 20);
  assert.ok(deferred.length >= 10 && deferred.length < 20, JSON.stringify(statuses));
  for (const { hits } of deferred) assert.equal(hits, 0);
});

test('without a budget all are placed, however many there are', () => {
  const { hits } = answer(`
    const fs = require('node:fs');
    const folder = fs.mkdtempSync(require('node:path').join(require('node:os').tmpdir(), 'strobe many?#%é-'));
    start();
    const files = Array.from({ length: 200 }, (_, at) => folder + '/many' + at + '.cjs');
    for (const file of files) {
      fs.writeFileSync(file, 'exports.one = 1;\\n');
      line(file, file, 1);
    }
    await strobe.flush();
    for (const file of files) require(file);
    await until(() => strobe.status().every(({ hits }) => hits === 1));
    fs.rmSync(folder, { recursive: true });
    return { hits: strobe.status().map(({ hits }) => hits) };`, { settings: { cpuBudget: 100, ndjson: '/dev/null' } });
  assert.deepEqual(hits, Array(200).fill(1));
});

// On Node 20 its breakpoint is set in the first one only.
const isByThread = Module.registerHooks === undefined;

test('a module of ES with a query is seen', { skip: isByThread }, () => {
  const { events: found, printed, stderr } = events('--at', 'top.mjs:3', '--log', 'x', '--', 'queries.mjs');
  assert.equal(found.length, 2, stderr + printed);
});

test('no iterator of the program runs, where arrays are taken apart', () => {
  const { runs, hits } = answer(`
    const vm = require('node:vm');
    // Node's own part of a thread takes its arrays apart so.
    void process.stdout;
    let runs = 0;
    const { prototype } = Array;
    const { [Symbol.iterator]: values } = prototype;
    prototype[Symbol.iterator] = function () { runs += 1; return Reflect.apply(values, this, []); };
    start();
    line('a', 'refused.cjs', 6);
    require(process.cwd() + '/refused.cjs');
    const file = process.cwd() + '/made.cjs';
    new vm.Script('(function made(a) { return a; })', { filename: file }).runInContext(vm.createContext({}))(1);
    vm.runInThisContext('(function made(a) { return a; })', { filename: file })(1);
    const during = runs;
    prototype[Symbol.iterator] = values;
    await until(() => strobe.status()[0].hits === 2);
    return { runs: during, hits: strobe.status()[0].hits };`);
  assert.deepEqual([runs, hits], [0, 2]);
});
