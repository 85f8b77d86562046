// What hits and guards read is of the kind that the engine reads quickly: else each costs several times as much, and nothing
// else would tell.
import './processes.mjs';
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const register = fileURLToPath(new URL('../js/register.cjs', import.meta.url));
const apps = fileURLToPath(new URL('apps/', import.meta.url));

function answer(program) {
  const own = ['--allow-natives-syntax', '--require', register, '-e', program];
  const env = { ...process.env, STROBE_ENABLED: 'true', STROBE_TERMINAL: 'never' };
  return JSON.parse(execFileSync(process.execPath, own, { cwd: apps, encoding: 'utf8', env }));
}

test('a table of variants is an array like any other', () => {
  const found = answer(`
    const strobe = require('../../js/index.cjs');
    require('./deep.cjs');
    strobe.addProbe({ id: 'a', type: 'LOG_PROBE', where: { sourceFile: 'deep.cjs', lines: ['9'] }, template: 'x' });
    strobe.status();
    const tables = Object.getOwnPropertyNames(globalThis).filter((name) => name.startsWith('$strobe_')).map((name) => globalThis[name]);
    const one = tables.find((table) => Array.isArray(table));
    console.log(JSON.stringify([one.length, %HasDictionaryElements(one)]));`);
  assert.deepEqual(found, [2, false]);
});

test('constants and counts are objects that are no tables of the engine', () => {
  const slow = answer(`
    const { SHAPE } = require('../../js/values.cjs');
    const { fault } = require('../../js/helpers.cjs');
    const objects = { layout: require('../../js/layout.cjs'), SHAPE, fault };
    console.log(JSON.stringify(Object.keys(objects).filter((name) => !%HasFastProperties(objects[name]))));`);
  assert.deepEqual(slow, []);
});
