// Coverage is that of the program: while Node measures it, modules have no guards, and a debugger watches for probes.
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import test from 'node:test';
import { apps, bin, node, register } from './processes.mjs';

const cwd = path.join(apps, 'counted');

/** What of the program has run how often, by files, and what else was seen. */
function counted(words, variables = {}) {
  const folder = mkdtempSync(path.join(tmpdir(), 'strobe-counted-'));
  try {
    const { status, stdout, stderr } = node(words, { cwd, variables: { NODE_V8_COVERAGE: folder, STROBE_ENABLED: 'true', ...variables } });
    assert.equal(status, 0, stderr);
    assert.doesNotMatch(stderr, /no probes in this process/);
    const scripts = readdirSync(folder).flatMap((name) => JSON.parse(readFileSync(path.join(folder, name), 'utf8')).result);
    const own = scripts.filter(({ url }) => url.includes('/apps/counted/')).map(({ url, functions }) => [path.basename(url), functions]);
    return { own: own.sort(([one], [other]) => (one < other ? -1 : 1)), stdout, stderr };
  } finally {
    rmSync(folder, { recursive: true });
  }
}

test('guards are not counted', () => {
  const bare = counted(['main.cjs']);
  assert.deepEqual(bare.own.map(([name]) => name), ['main.cjs', 'price.cjs', 'price.mjs']);
  assert.deepEqual(counted(['--require', register, 'main.cjs']).own, bare.own);
});

test('probes are there all the same, and what runs because of them is not counted', () => {
  const bare = counted(['main.cjs']);
  const probes = ['--at', 'price.cjs:4', '--log', 'costs {item.price}', '--at', 'price.mjs:4', '--log', 'costs {item.price}'];
  const { own, stdout, stderr } = counted([bin, 'run', ...probes, '--', 'main.cjs']);
  assert.deepEqual([own, stdout], [bare.own, bare.stdout], stderr);
  for (const message of [/costs 3$/m, /costs 4$/m]) assert.match(stderr, message);
  assert.match(stderr, /tier B\), since coverage is being measured, and would count guards/);
});
