// The scripts of `tests/vectors/statuses.json` through whole sessions: what the Agent and `status()` say, where modules, calls,
// threads, settings and time bring about what happens (apps/script.cjs).
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { agent } from './agent.mjs';
import { apps, cleanEnvironment, index } from './processes.mjs';

const file = fileURLToPath(new URL('../../tests/vectors/statuses.json', import.meta.url));
const { vectors } = JSON.parse(readFileSync(file, 'utf8'));

/** Scripts in which statuses are told again: the interval is a second there. */
const isRepeated = ({ script }) => script.some(([, what]) => what === 'tick' || what === 'repeat');

/** Plays a script in a process of its own: what the board says at the end. */
function play(vector, folder, url) {
  const seconds = isRepeated(vector) ? 1 : 3600;
  mkdirSync(folder);
  const told = path.join(folder, 'script.json');
  writeFileSync(told, JSON.stringify({ ...vector, seconds }));
  const env = { ...cleanEnvironment(), DD_TRACE_AGENT_URL: url, DD_SERVICE: vector.id };
  const child = spawn(process.execPath, [path.join(apps, 'script.cjs'), index, told, folder], { env, stdio: ['ignore', 'pipe', 'pipe'] });
  const parts = { stdout: '', stderr: '' };
  for (const stream of ['stdout', 'stderr']) child[stream].on('data', (data) => (parts[stream] += data));
  return new Promise((done) => child.on('close', (code) => done({ code, ...parts })));
}

/** A status as the vectors write it; kinds of errors that a script makes up are those that a program can bring about. */
function written({ probeId, probeVersion, status, exception }, kinds) {
  const type = exception?.type ?? null;
  return [probeId, probeVersion, status, kinds.get(type) ?? type];
}

/** The script's word for each kind of error: the first is a line that is not there, another one two files. */
function kindsOf({ script }) {
  const named = [...new Set(script.filter(([, what]) => what === 'error').map((step) => step[4]))];
  const meant = named.filter((kind) => !['InvalidDefinition', 'Panic'].includes(kind));
  return new Map(['NoSuchLine', 'AmbiguousFile'].slice(0, meant.length).map((kind, at) => [kind, meant[at]]));
}

/** What was told without what was told again: of each probe, its last status. */
function withoutRepetitions(told, wanted) {
  const current = new Map();
  let at = 0;
  return told.filter((status) => {
    const text = JSON.stringify(status);
    const isWanted = text === JSON.stringify(wanted[at]);
    if (!isWanted && current.get(status[0]) === text) return false;
    current.set(status[0], text);
    at += 1;
    return true;
  });
}

describe('what happens to a probe leads to the statuses of the vectors', { concurrency: 6 }, async () => {
  const folder = realpathSync(mkdtempSync(path.join(tmpdir(), 'statuses-')));
  after(() => rmSync(folder, { recursive: true }));
  // Those with a pause take the longest.
  const isLong = ({ script }) => script.some(([, what]) => what === 'resumed');
  for (const vector of [...vectors].sort((one, other) => isLong(other) - isLong(one))) {
    test(vector.id, async (context) => {
      const here = await agent(context);
      const { code, stdout, stderr } = await play(vector, path.join(folder, vector.id), here.url);
      assert.equal(code, 0, stderr);
      const kinds = kindsOf(vector);
      const told = (await here.statuses()).filter(({ probeId }) => probeId !== 'lists').map((status) => written(status, kinds));
      const wanted = vector.expect.map(([, ...status]) => status);
      assert.deepEqual(isRepeated(vector) ? withoutRepetitions(told, wanted) : told, wanted, stderr);
      if (vector.board === undefined) return;
      // Each probe that has no file yet is looked for: it waits.
      const board = Object.entries(JSON.parse(stdout)).map(([id, state]) => [id, state === 'waiting' ? 'received' : state]);
      const expected = Object.entries(vector.board).map(([id, state]) => [id, state === 'waiting' ? 'received' : state]);
      assert.deepEqual(board.sort(), expected.sort());
    });
  }
});
