// `explain`: why a probe did or did not fire, asked in a program and by the command.
import './processes.mjs';
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import test from 'node:test';
import { fileURLToPath } from 'node:url';
import { answer } from './processes.mjs';

const bin = fileURLToPath(new URL('../bin/stroboscope.mjs', import.meta.url));

const shop = `'use strict';
function price(article, quantity) {
  let amount = article.length * quantity;
  if (quantity > 100) {
    amount -= 1;
  }
  return amount;
}

class Cart {
  total() {
    return 7;
  }
}

if (require.main === module) for (let n = 0; n < 3; n += 1) price('cup', n);
module.exports = { Cart, price };
`;

/** Does something in a folder with the shop in it. */
function inFolder(work) {
  const folder = realpathSync(mkdtempSync(path.join(tmpdir(), 'explain-')));
  try {
    writeFileSync(path.join(folder, 'shop.cjs'), shop);
    return work(folder);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

const probe = (id, lines, more = '') => `strobe.addProbe({ id: '${id}', version: 1, type: 'LOG_PROBE', template: 'x',
  where: { sourceFile: 'shop.cjs', lines: ['${lines}'] }, ${more} });`;

/** What a program says that has loaded the shop. */
const asked = (folder, text) => answer(`
  const { price, Cart } = require(${JSON.stringify(path.join(folder, 'shop.cjs'))});
  ${text}`);

function explain(folder, ...words) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [bin, 'explain', ...words], { cwd: folder, encoding: 'utf8', timeout: 30_000 });
  return { status, stdout: stdout.split('\n').slice(0, -1), stderr: stderr.split('\n') };
}

test('a line that is not reached is told from a function that is not called', () => inFolder((folder) => {
  const { before, after, unused } = asked(folder, `
    ${probe('never', 5)}
    ${probe('unused', 12)}
    const before = strobe.explain('never');
    for (let quantity = 0; quantity < 10; quantity += 1) price('cup', quantity);
    return { before, after: strobe.explain('never'), unused: strobe.explain('unused') };`);
  assert.equal(before[0], 'It asks for line 5 of shop.cjs.');
  assert.match(before[1], new RegExp(`^(One file|\\d+ files) of code (was|were) looked through; ${folder}/shop\\.cjs is meant\\.$`));
  assert.match(before[2], /^Line 5 has code, in `price` \(lines 2 to 8\); near it lines .*3, 4, 7, .* have code too\.$/);
  assert.deepEqual(before.slice(-2), ['The code around it has not run since the probe was placed.', 'It was never hit.']);
  assert.equal(after.at(-2), 'The code around it has run since the probe was placed, but never came there.');
  assert.equal(unused.at(-2), 'The code around it has not run since the probe was placed.');
}));

test('what became of hits, and what they cost', () => inFolder((folder) => {
  const said = asked(folder, `
    ${probe('here', 7, "when: { dsl: 'quantity > 7' }")}
    for (let quantity = 0; quantity < 10; quantity += 1) price('cup', quantity);
    await strobe.flush();
    return strobe.explain('here');`);
  assert.equal(said[0], 'It asks for line 7 of shop.cjs, when quantity > 7.');
  assert.ok(said.includes('It was hit 10 times, which made 2 events; not shown: 8 with a false condition.'), said.join('\n'));
  assert.match(said.at(-1), /^A hit has cost about .* of CPU/);
}));

test('a name that is not there, code that is not loaded, and an id that nobody has', () => inFolder((folder) => {
  const { method, missing, unknown } = asked(folder, `
    strobe.addProbe({ id: 'm', version: 1, type: 'LOG_PROBE', template: 'x', where: { sourceFile: 'shop.cjs', methodName: 'Cart.totl' } });
    strobe.addProbe({ id: 'l', version: 1, type: 'LOG_PROBE', template: 'x', where: { sourceFile: 'later.cjs', lines: ['1'] } });
    let unknown;
    try { strobe.explain('nobody'); } catch (error) { unknown = error.message; }
    return { method: strobe.explain('m'), missing: strobe.explain('l'), unknown };`);
  assert.equal(method[0], 'It asks for function `Cart.totl` of shop.cjs.');
  assert.ok(method.some((sentence) => /nearest: Cart\.total/.test(sentence)), method.join('\n'));
  assert.match(missing.join('\n'), /none is the one that is meant\./);
  assert.equal(unknown, 'no probe has the id nobody: status() has those that there are');
}));

test('after the end the counts are left', () => inFolder((folder) => {
  const said = asked(folder, `
    ${probe('here', 7)}
    price('cup', 1);
    await strobe.stop();
    return strobe.explain('here');`);
  assert.ok(said.includes('It was hit once, which made 1 event.'), said.join('\n'));
}));

test('the command explains at the end of the program', () => inFolder((folder) => {
  const { status, stderr } = explain(folder, '--at', 'shop.cjs:5', '--when', 'quantity > 1', '--at', 'shop.cjs:7', '--', 'shop.cjs');
  assert.equal(status, 0, stderr.join('\n'));
  const own = stderr.slice(stderr.indexOf('shop.cjs:5'));
  assert.match(own[1], /^ {2}It asks for line 5 of .*shop\.cjs, when quantity > 1\.$/);
  assert.ok(own.includes('  The code around it has run since the probe was placed, but never came there.'), own.join('\n'));
  assert.ok(own.includes('  It was never hit.'));
  assert.ok(own.some((line) => line.startsWith('  It was hit 3 times, which made ')), own.join('\n'));
}));

test('without a program nothing runs', () => inFolder((folder) => {
  const { status, stdout } = explain(folder, '--at', 'shop.cjs:6', '--when', 'n > 1', '--at', 'shop.cjs:90', '--method', 'shop.cjs:Cart.total');
  assert.equal(status, 0);
  const said = stdout.join('\n');
  assert.match(said, /^shop\.cjs:6\n {2}It asks for line 6 of .*, when n > 1\.\n/);
  assert.match(said, /\n {2}The probe can be placed there, and fires when that code runs and the condition holds\.\n/);
  assert.match(said, /\n {2}No executable code at line 90; the nearest lines with code are .*\.\n {2}The probe cannot be placed\.\n/);
  assert.match(said, /\n {2}`Cart\.total` is there, lines 11 to 13\.\n/);
}));

test('without a program files are looked for below the working folder', () => inFolder((folder) => {
  mkdirSync(path.join(folder, 'src'));
  writeFileSync(path.join(folder, 'src', 'cart.mjs'), 'export const total = () => 1;\n');
  const found = explain(folder, '--at', 'cart.mjs:1').stdout.join('\n');
  assert.match(found, /2 files of code were looked through; src\/cart\.mjs is meant\./);
  assert.match(explain(folder, '--at', 'wagon.mjs:1').stdout.join('\n'), /none is the one that is meant\.\n {2}The probe would wait for such code\./);
  writeFileSync(path.join(folder, 'bad.cjs'), 'function (\n');
  assert.match(explain(folder, '--at', 'bad.cjs:1').stdout.join('\n'), /bad\.cjs cannot be read: /);
}));
