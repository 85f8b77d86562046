// Vectors through real probes (run-probed.mjs): those of `tests/vectors`, and random ones of a fresh seed, which run without a
// session as well.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import test from 'node:test';
import { fileURLToPath } from 'node:url';
import { node } from './processes.mjs';

const at = (name) => fileURLToPath(new URL(name, import.meta.url));
const root = at('../../');

/** How many vectors passed, of which none may fail. */
function passed(runner, files, about = '') {
  const { stdout, stderr, status } = node([at(runner), ...files]);
  assert.equal(status, 0, `${about}${stdout.slice(-4000)}${stderr}`);
  return Number(/^(\d+) passed, 0 failed$/m.exec(stdout)?.[1]);
}

test('expressions and captures of the vectors come out of real probes as they should', () => {
  const files = ['expressions', 'records'].map((name) => path.join(root, 'tests/vectors', `${name}.json`));
  assert.ok(passed('run-probed.mjs', files) > 660);
});

test('random vectors pass without a session and through real probes', () => {
  const seed = process.env.STROBE_TEST_SEED ?? String(Date.now() % 2 ** 32);
  const folder = mkdtempSync(path.join(tmpdir(), 'random-'));
  try {
    const words = ['run', '--quiet', '--profile', 'ci', '-p', 'xtask', '--', 'vectors', '--random', seed, '--count', '3000', '--host', 'node'];
    const file = path.join(folder, 'random.json');
    writeFileSync(file, execFileSync('cargo', words, { cwd: root, maxBuffer: 1 << 28 }));
    const about = `repeat with STROBE_TEST_SEED=${seed}\n`;
    assert.ok(passed('run-vectors.mjs', [file], about) > 2500);
    assert.ok(passed('run-probed.mjs', [file], about) > 2400);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
