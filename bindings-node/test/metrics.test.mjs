// Metric probes from Node, over a real socket: what each kind sends, what is no number, threads, and hits that a debugger makes.
import { apps, bin, cleanEnvironment, index } from './processes.mjs';
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import dgram from 'node:dgram';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { test } from 'node:test';

const PREFIX = 'dynamic.instrumentation.metric.probe.';

/** A server of metrics: `lines()` are those that have come when nothing does any more. */
async function server() {
  const socket = dgram.createSocket('udp4');
  const came = [];
  socket.on('message', (bytes) => {
    const text = bytes.toString();
    assert.ok(text.endsWith('\n') && bytes.length <= 1432, text);
    came.push(...text.trimEnd().split('\n'));
  });
  await new Promise((resolve) => socket.bind(0, '127.0.0.1', resolve));
  return {
    url: `udp://127.0.0.1:${socket.address().port}`,
    async lines() {
      for (let before = -1; before !== came.length; ) {
        before = came.length;
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
      return came;
    },
    close: () => socket.close(),
  };
}

/** Runs a program beside a server, which would hear nothing while a child is waited for. */
function run(words, variables) {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, words, { cwd: apps, env: { ...cleanEnvironment(), ...variables } });
    let [stdout, stderr] = ['', ''];
    child.stdout.on('data', (bytes) => (stdout += bytes));
    child.stderr.on('data', (bytes) => (stderr += bytes));
    child.on('error', reject);
    child.on('close', (status) => resolve({ status, stdout, stderr }));
  });
}

const SHOP = `
class Cart {
  #size = 7;
  constructor(items) { this.items = items; this.password = 424242; }
  total(rate) {
    let total = 0;
    for (const price of this.items) total += price * rate;
    if (rate === 'bad') throw new Error('no');
    return total;
  }
  async later(n) { await null; return n; }
}
module.exports = { Cart };
`;

/** What a program with the shop has sent and answered. `body` has `metric(id, kind, value, more)` and `Cart`. */
async function measured(body, settings = {}) {
  const folder = mkdtempSync(path.join(tmpdir(), 'strobe-metrics-'));
  const its = await server();
  try {
    writeFileSync(path.join(folder, 'shop.cjs'), SHOP);
    const program = `
      const strobe = require(${JSON.stringify(index)});
      (async () => {
        strobe.start({ terminal: 'never', ndjson: ${JSON.stringify(path.join(folder, 'events.json'))}, ...${JSON.stringify(settings)} });
        const { Cart } = require('./shop.cjs');
        const at = { sourceFile: 'shop.cjs', methodName: 'Cart.total' };
        const metric = (id, kind, value, more = {}) => strobe.addProbe({ id, version: 1, type: 'METRIC_PROBE', kind, metricName: id,
          where: at, ...(value === undefined ? {} : { value: { dsl: value } }), ...more });
        const of = (id) => strobe.status().find((probe) => probe.id === id);
        const answer = await (async () => { ${body} })();
        console.log(JSON.stringify(answer ?? null));
      })();`;
    writeFileSync(path.join(folder, 'main.cjs'), program);
    const variables = { DD_DOGSTATSD_URL: its.url, DD_SERVICE: 'shop', DD_ENV: 'e1', DD_ENTITY_ID: 'ci-here' };
    const { status, stdout, stderr } = await run([path.join(folder, 'main.cjs')], variables);
    assert.equal(status, 0, stderr);
    const events = readFileSync(path.join(folder, 'events.json'), 'utf8').split('\n').filter((line) => line !== '');
    return { lines: await its.lines(), answer: JSON.parse(stdout.trim().split('\n').at(-1)), events };
  } finally {
    its.close();
    rmSync(folder, { recursive: true });
  }
}

/** The values of each metric with its type, of several lines together. */
function values(lines) {
  const of = {};
  for (const line of lines) {
    const [, name, rest] = /^([^:]*):(.*?)\|#/.exec(line.slice(PREFIX.length));
    of[name] = of[name] === undefined ? rest : `${of[name]} ${rest}`;
  }
  return of;
}

test('every kind, on methods and lines', async () => {
  const { lines, answer: told } = await measured(`
    metric('calls', 'COUNT', undefined, { tags: ['team:x', 'env:mine'] });
    metric('items', 'COUNT', 'len(this.items)', { evaluateAt: 'ENTRY' });
    metric('last', 'GAUGE', '@return');
    metric('hist', 'HISTOGRAM', 'rate', { when: { dsl: 'rate != 2' } });
    metric('time', 'DISTRIBUTION', '@duration');
    metric('line', 'HISTOGRAM', 'rate > 2', { where: { sourceFile: 'shop.cjs', lines: ['8'] } });
    metric('thrown', 'COUNT', undefined, { when: { dsl: "@exception.message == 'no'" } });
    metric('async', 'COUNT', 'n', { where: { sourceFile: 'shop.cjs', methodName: 'Cart.later' } });
    for (const rate of [1, 2, 3.5]) new Cart([2, 3]).total(rate);
    try { new Cart([1]).total('bad'); } catch {}
    await new Cart([]).later(5);
    const arrived = await strobe.flush();
    return { arrived, statuses: strobe.status(), stats: strobe.stats() };
  `);
  const of = values(lines);
  assert.match(of.time, /^[\d.e-]+(:[\d.e-]+){3}\|d$/);
  delete of.time;
  assert.deepEqual(of, {
    calls: '4|c',
    items: '7|c',
    last: '17.5|g',
    hist: '1:3.5|h',
    line: '0:0:1|h',
    thrown: '1|c',
    async: '5|c',
  });
  const common = '|#team:x,env:mine,debugger.probeid:calls,service:shop|c:ci-here';
  assert.equal(lines.find((line) => line.includes('.calls:')), `${PREFIX}calls:4|c${common}`);
  assert.equal(told.arrived, true);
  for (const status of told.statuses) assert.equal(status.state, 'emitting', JSON.stringify(status));
  const counts = Object.fromEntries(told.statuses.map(({ id, hits, measured, rejected, failed }) => [id, [hits, measured, rejected, failed]]));
  assert.deepEqual(counts.calls, [4, 4, 0, 0]);
  assert.deepEqual(counts.hist, [4, 2, 1, 1], 'a text is no number');
  assert.deepEqual(counts.thrown, [4, 1, 0, 3], 'the others have no exception');
  const sum = told.statuses.reduce((all, { measured }) => all + measured, 0);
  assert.equal(told.stats.measured, sum);
  assert.equal(told.stats.metrics.lost, 0);
});

test('each second while the program runs, as a probe goes, and at the end', async () => {
  const { lines } = await measured(`
    metric('calls', 'COUNT');
    metric('gone', 'COUNT');
    const cart = new Cart([1]);
    cart.total(1);
    const end = Date.now() + 30_000;
    while (strobe.stats().metrics.sent < 2 && Date.now() < end) await new Promise((resolve) => setTimeout(resolve, 20));
    cart.total(1);
    cart.total(1);
    strobe.removeProbe('gone');
    // The rest leaves as the program ends.
  `);
  assert.deepEqual(values(lines), { calls: '1|c 2|c', gone: '1|c 2|c' });
});

test('a loop that never rests is counted whole, and its values are sampled', async () => {
  const { lines, answer: told } = await measured(
    `
    metric('calls', 'COUNT');
    metric('rates', 'DISTRIBUTION', 'rate');
    const cart = new Cart([1]);
    for (let n = 0; n < 60_000; n += 1) cart.total(n);
    await strobe.flush();
    return [of('calls'), of('rates'), strobe.stats().metrics];
  `,
    { cpuBudget: 100 },
  );
  const [calls, rates, metrics] = told;
  assert.deepEqual([calls.hits, calls.measured, rates.hits, rates.measured], [60_000, 60_000, 60_000, 60_000]);
  assert.equal(metrics.lost, 0);
  const sums = lines.filter((line) => line.includes('.calls:')).map((line) => Number(/:(\d+)\|/.exec(line)[1]));
  assert.equal(sums.reduce((all, one) => all + one), 60_000);
  let [kept, stoodFor] = [0, 0];
  for (const line of lines.filter((one) => one.includes('.rates:'))) {
    const count = line.split('|')[0].split(':').length - 1;
    kept += count;
    stoodFor += count / Number(/\|@([\d.]+)/.exec(line)?.[1] ?? 1);
  }
  assert.ok(kept < 60_000 && Math.abs(stoodFor - 60_000) < 3_000, `${kept} for ${stoodFor}`);
});

test('what is no number is told once, by the words of the core, and a secret is nowhere', async () => {
  const { lines, answer: told, events } = await measured(`
    metric('text', 'GAUGE', 'this');
    metric('nothing', 'GAUGE', 'this.none');
    metric('fraction', 'COUNT', 'rate');
    metric('nan', 'GAUGE', 'rate');
    metric('secret', 'GAUGE', 'this.password');
    metric('hidden', 'HISTOGRAM', 'this.#size');
    metric('defined', 'GAUGE', 'isDefined(rate)');
    for (const rate of [1.5, NaN, Infinity, 10n ** 400n, 7n, true]) {
      try { new Cart([]).total(rate); } catch {}
    }
    await strobe.flush();
    return Object.fromEntries(strobe.status().map((probe) => [probe.id, probe]));
  `);
  assert.deepEqual(values(lines), { fraction: '8|c', nan: '1|g', hidden: '7:7:7:7:7:7|h', defined: '1|g' });
  assert.equal(told.text.failure, 'value: Metric value is not a number: object');
  assert.match(told.nothing.failure, /^value: .*no member 'none'/);
  assert.match(told.nan.failure, /^value: Metric value is not a finite number/);
  assert.equal(told.nan.failed, 3);
  assert.equal(told.fraction.failed, 4);
  assert.match(told.fraction.failure, /not a finite number|not a whole number/);
  assert.match(told.secret.failure, /redacted/);
  const errors = events.map((line) => JSON.parse(line)).filter((event) => event.type === 'snapshot');
  assert.deepEqual(errors.map((event) => event.debugger.snapshot.probe.id).sort(), ['fraction', 'nan', 'nothing', 'secret', 'text']);
  for (const event of errors) assert.equal(event.debugger.snapshot.captures, undefined);
});

test('hits of worker threads count too', async () => {
  const its = await server();
  const folder = mkdtempSync(path.join(tmpdir(), 'strobe-metrics-'));
  try {
    const where = { sourceFile: 'work.cjs', lines: ['4'] };
    const probes = [
      { id: 'c', type: 'METRIC_PROBE', kind: 'COUNT', metricName: 'c', where },
      { id: 'h', type: 'METRIC_PROBE', kind: 'HISTOGRAM', metricName: 'h', where, value: { dsl: 'n' } },
    ];
    writeFileSync(path.join(folder, 'probes.json'), JSON.stringify(probes));
    const words = [bin, 'run', '--probes', path.join(folder, 'probes.json'), '--', 'threads.cjs'];
    const { status, stderr } = await run(words, { DD_DOGSTATSD_URL: its.url });
    assert.equal(status, 0, stderr);
    const of = values(await its.lines());
    const sum = (text, pattern) => [...text.matchAll(pattern)].reduce((all, one) => all + Number(one[1]), 0);
    assert.equal(sum(of.c, /(\d+)\|c/g), 3, of.c);
    assert.equal(sum(of.h.replaceAll('0', '1'), /(\d)/g), 3, of.h);
  } finally {
    its.close();
    rmSync(folder, { recursive: true });
  }
});

test('where a debugger watches, a metric of the top level is measured', async () => {
  const its = await server();
  const folder = mkdtempSync(path.join(tmpdir(), 'strobe-metrics-'));
  try {
    writeFileSync(path.join(folder, 'summing.cjs'), 'let sum = 0;\nfor (const n of [1, 2, 6]) {\n  sum += n;\n}\nconsole.log(sum);\n');
    const where = { sourceFile: 'summing.cjs', lines: ['3'] };
    const probes = [
      { id: 'c', type: 'METRIC_PROBE', kind: 'COUNT', metricName: 'c', where },
      { id: 'h', type: 'METRIC_PROBE', kind: 'HISTOGRAM', metricName: 'h', where, value: { dsl: 'n' }, when: { dsl: 'n > 1' } },
    ];
    writeFileSync(path.join(folder, 'probes.json'), JSON.stringify(probes));
    const words = [bin, 'run', '--probes', path.join(folder, 'probes.json'), '--', path.join(folder, 'summing.cjs')];
    const { status, stdout, stderr } = await run(words, { DD_DOGSTATSD_URL: its.url, STROBE_TERMINAL: 'always' });
    assert.equal(status, 0, stderr);
    assert.equal(stdout, '9\n');
    assert.deepEqual(values(await its.lines()), { c: '3|c', h: '2:6|h' });
    assert.match(stderr, /\[c\] c {2}\+3\n/);
    assert.match(stderr, /\[h\] h {2}2 values, 2 to 6\n/);
    assert.match(stderr, /^h .* 3 hits +2 values {2}not shown: .*condition/m);
  } finally {
    its.close();
    rmSync(folder, { recursive: true });
  }
});
