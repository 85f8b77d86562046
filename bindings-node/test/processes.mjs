// Programs of tests: each in a process of its own, since there is one session in each.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const at = (name) => fileURLToPath(new URL(name, import.meta.url));

export const index = at('../js/index.cjs');
export const register = at('../js/register.cjs');
export const bin = at('../bin/stroboscope.mjs');
export const apps = at('apps/');

/** What tests put into modules is kept for them alone, and not among the caches of who runs them. */
const cache = mkdtempSync(path.join(tmpdir(), 'strobe-tests-'));
process.env.STROBE_CACHE = cache;
process.on('exit', () => rmSync(cache, { recursive: true, force: true }));

/** The environment without what would change a session or a test. */
export function cleanEnvironment() {
  const meant = ([name]) => !/^(?:DD_|STROBE_|NODE_)/.test(name);
  return { ...Object.fromEntries(Object.entries(process.env).filter(meant)), STROBE_CACHE: cache };
}

/** Runs Node with these words. */
export function node(words, { variables = {}, cwd = apps } = {}) {
  const env = { ...cleanEnvironment(), ...variables };
  return spawnSync(process.execPath, words, { cwd, encoding: 'utf8', env, timeout: 60_000 });
}

/** Runs a program that has `strobe` and prints one value as JSON. */
export function answer(body, settings = {}, variables = {}, options = []) {
  const program = `
    const strobe = require(${JSON.stringify(index)});
    (async () => {
      const remarks = strobe.start({ terminal: 'never', ndjson: '/dev/null', ...${JSON.stringify(settings)} });
      const answer = await (async () => { ${body} })();
      console.log(JSON.stringify(answer));
    })();`;
  const { stdout, stderr, status, signal } = node([...options, '-e', program], { variables });
  assert.equal(status, 0, `${signal}: ${stderr}`);
  return JSON.parse(stdout.trim().split('\n').at(-1));
}

/** The events in the lines of a text. */
export function events(text) {
  return text.split('\n').filter((line) => line.startsWith('{')).map((line) => JSON.parse(line));
}
