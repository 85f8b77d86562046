// The package as npm installs it: packed, installed into an empty folder, and used there.
import './processes.mjs';
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, realpathSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import test, { after, before } from 'node:test';
import { fileURLToPath } from 'node:url';

const tool = fileURLToPath(new URL('../tools/package.mjs', import.meta.url));
const folder = realpathSync(mkdtempSync(path.join(tmpdir(), 'stroboscope-installed-')));
const installed = path.join(folder, 'node_modules', 'stroboscope');
const app = "'use strict';\nfunction twice(n) {\n  return 2 * n;\n}\nconsole.log(twice(21));\n";

before(() => {
  const packed = execFileSync(process.execPath, [tool, folder], { env: { ...process.env, PROFILE: 'ci' }, encoding: 'utf8' });
  const files = packed.trim().split('\n');
  writeFileSync(path.join(folder, 'package.json'), '{"private": true}');
  // What other platforms need is nowhere to be had here, and may be missing.
  execFileSync('npm', ['install', '--offline', '--no-audit', '--no-fund', ...files], { cwd: folder, stdio: 'pipe' });
  writeFileSync(path.join(folder, 'app.js'), app);
});

after(() => rmSync(folder, { recursive: true }));

function execute(program, ...words) {
  const env = { ...process.env, STROBE_ENABLED: 'true' };
  const { status, stdout, stderr } = spawnSync(program, words, { cwd: folder, encoding: 'utf8', env, timeout: 60_000 });
  return { status, stdout, stderr };
}

const bin = path.join(folder, 'node_modules', '.bin', 'stroboscope');
const command = () => execute(bin, 'run', '--at', 'app.js:3', '--log', 'n is {n}', '--', 'app.js');
const preload = () => execute(process.execPath, '--import', 'stroboscope/register', 'app.js');

test('what is installed works, as a command, a preload and a module', () => {
  const ran = command();
  assert.deepEqual([ran.status, ran.stdout], [0, '42\n'], ran.stderr);
  assert.match(ran.stderr, /n is 21/);
  assert.deepEqual(preload(), { status: 0, stdout: '42\n', stderr: '' });
  for (const text of ["import('stroboscope')", "Promise.resolve(require('stroboscope'))"]) {
    const { stdout, stderr } = execute(process.execPath, '-e', `${text}.then((it) => console.log(it.version, typeof it.start))`);
    assert.equal(stdout, '0.1.0 function\n', stderr);
  }
});

test('a writer of another layout starts nothing, and the program goes on', () => {
  const file = path.join(installed, 'js', 'layout.cjs');
  const text = readFileSync(file, 'utf8');
  const doctored = text.replace(/(LAYOUT: )(\d+)/, (_, name, number) => name + (Number(number) ^ 1));
  assert.notEqual(doctored, text);
  writeFileSync(file, doctored);
  try {
    const { status, stdout, stderr } = preload();
    assert.deepEqual([status, stdout], [0, '42\n']);
    assert.match(stderr, /^stroboscope: no probes in this process: .*install both from one version/);
    const ran = command();
    assert.equal(ran.status, 2);
    assert.match(ran.stderr, /^stroboscope: .*install both from one version/);
  } finally {
    writeFileSync(file, text);
  }
});

test('without the addon of this platform it is said what to do, and the program goes on', () => {
  const [name] = JSON.parse(execute('npm', 'query', '[name^="stroboscope-"]').stdout).map((found) => found.name);
  const before = path.join(folder, 'node_modules', name);
  renameSync(before, path.join(folder, 'away'));
  try {
    const { status, stdout, stderr } = preload();
    assert.deepEqual([status, stdout], [0, '42\n']);
    assert.match(stderr, /^stroboscope: no probes in this process: there is no addon for .* --omit=optional/);
    assert.equal(command().status, 2);
  } finally {
    renameSync(path.join(folder, 'away'), before);
  }
});
