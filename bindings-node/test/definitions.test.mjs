// Definitions, as they come to Node: what is wrong with them is told in the words of `tests/vectors`, and what the service
// denies is left alone.
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import test from 'node:test';
import { fileURLToPath } from 'node:url';
import { agent } from './agent.mjs';
import { answer } from './processes.mjs';
import { read } from './run-vectors.mjs';

const file = fileURLToPath(new URL('../../tests/vectors/definitions.json', import.meta.url));

/** The definitions that no runtime takes, or not Node, as texts, with what is expected. */
function refused() {
  const found = read(readFileSync(file, 'utf8')).map((vector) => ({
    name: vector.get('id'),
    kind: vector.get('kind'),
    language: vector.get('language') ?? 'javascript',
    methods: vector.get('methods') ?? true,
    configured: vector.has('config_id'),
    text: vector.raw.get('definition'),
    expect: JSON.parse(vector.raw.get('expect')),
  }));
  const isRefused = ({ expect }) => expect.rejected || expect.error || expect.begins;
  const isMeant = (one) => one.kind === 'definition' && one.language === 'javascript' && one.methods && !one.configured;
  return found.filter((one) => isMeant(one) && isRefused(one) && isForNode(one)).map(withFile);
}

/** What is incomplete elsewhere is so in Node for want of a file; and a service configuration is no mistake. */
function isForNode({ name, expect }) {
  return name === 'incomplete-javascript' || !(expect.error?.startsWith('probe location is incomplete') || name === 'service-is-no-probe');
}

/** Method probes of Node name their file. */
function withFile(one) {
  if (one.name === 'incomplete-javascript' || one.text.includes('"sourceFile"')) return one;
  return { ...one, text: one.text.replace('"methodName":', '"sourceFile": "cart.js", "methodName":') };
}

function isAsExpected({ expect }, text) {
  if (expect.error) return text === expect.error;
  if (expect.field) return text.startsWith(`Field '${expect.field}' `);
  return text.startsWith(expect.begins) && text.endsWith(expect.ends);
}

test('what is wrong with a definition is told in the words of the vectors, by its status and to the Agent', async (context) => {
  const here = await agent(context);
  const folder = mkdtempSync(path.join(tmpdir(), 'definitions-'));
  context.after(() => rmSync(folder, { recursive: true }));
  const wanted = refused();
  assert.ok(wanted.length > 200, `${wanted.length}`);
  writeFileSync(path.join(folder, 'texts.json'), JSON.stringify(wanted.map((one) => one.text)));
  const told = answer(
    `const texts = JSON.parse(require('fs').readFileSync('${folder}/texts.json', 'utf8'));
    const told = texts.map((text) => {
      try {
        const id = strobe.addProbe(text);
        const { state, reason } = strobe.status()[0];
        strobe.removeProbe(id);
        return [state, reason];
      } catch (error) {
        return ['thrown', error.message];
      }
    });
    await strobe.stop();
    return told;`,
    { ndjson: null },
    { DD_TRACE_AGENT_URL: here.url },
  );
  const wrong = wanted.flatMap((one, at) => {
    const [state, text] = told[at];
    const isRight = state === (one.expect.rejected && one.expect.id === null ? 'thrown' : 'error') && isAsExpected(one, text);
    return isRight ? [] : [`${one.name}: ${state}: ${text}`];
  });
  assert.deepEqual(wrong, []);
  const statuses = await here.statuses();
  const errors = statuses.filter((status) => status.status === 'ERROR');
  assert.ok(errors.length > 0 && errors.every((status) => status.exception.message !== ''), JSON.stringify(statuses.slice(0, 3)));
});

const places = {
  line: { sourceFile: 'vault.cjs', lines: ['10'] },
  inner: { sourceFile: 'vault.cjs', lines: ['5'] },
  pay: { sourceFile: 'vault.cjs', methodName: 'Card.pay', typeName: 'vault' },
  open: { sourceFile: 'apps/vault.cjs', methodName: 'open', typeName: 'vault' },
  work: { sourceFile: 'work.cjs', methodName: 'work', typeName: 'work' },
};

const vault = ['inner', 'line', 'open', 'pay'];
const lists = [
  [{ denyList: { packagePrefixes: ['vault'] } }, vault],
  [{ denyList: { packagePrefixes: ['test/apps/vault.cjs'] } }, vault],
  [{ denyList: { packagePrefixes: ['apps.vault'] } }, vault],
  [{ denyList: { packagePrefixes: ['vaul', 'app'] } }, []],
  [{ denyList: { classes: ['vault.Card'] } }, ['inner', 'pay']],
  [{ denyList: { classes: ['apps/vault.Card'] } }, ['inner', 'pay']],
  [{ allowList: { packagePrefixes: ['apps/vault'] } }, ['work']],
  [{ allowList: { packagePrefixes: ['test/apps'] }, denyList: { classes: ['vault.Card'] } }, ['inner', 'pay']],
];

for (const first of ['lists', 'probes']) {
  test(`denied code has no probe, if ${first} come first`, () => {
    const [loaded, late] = answer(
      `const places = ${JSON.stringify(places)};
      const deny = (lists, version) => strobe.addProbe({ id: 'lists', type: 'SERVICE_CONFIGURATION', version, ...lists });
      const add = () => {
        for (const id in places) strobe.addProbe({ id, type: 'LOG_PROBE', where: places[id], template: 'x' });
      };
      const known = ['installed', 'emitting', 'blocked'];
      async function blocked(lists, version) {
        ${first === 'lists' ? 'deny(lists, version); add();' : 'add(); deny(lists, version);'}
        const { Card, open } = require(process.cwd() + '/vault.cjs');
        const { work } = require(process.cwd() + '/work.cjs');
        while (!strobe.status().every((one) => known.includes(one.state))) await new Promise((done) => setTimeout(done, 5));
        const before = Object.fromEntries(strobe.status().map((one) => [one.id, one.hits]));
        new Card().pay(1), open(1), work(1);
        const states = strobe.status();
        const found = states.filter((one) => one.state === 'blocked').map((one) => one.id).sort();
        const silent = states.filter((one) => one.hits === before[one.id]).map((one) => one.id).sort();
        const reasons = states.filter((one) => one.state === 'blocked').map((one) => one.reason);
        for (const id in places) strobe.removeProbe(id);
        strobe.removeProbe('lists');
        return [found, silent, reasons];
      }
      const all = [];
      for (const [at, lists] of ${JSON.stringify(lists.map(([one]) => one))}.entries()) all.push(await blocked(lists, at));
      // What is allowed again comes back.
      add();
      deny(${JSON.stringify(lists[0][0])}, 99);
      while (strobe.status().filter((one) => one.state === 'blocked').length < 4) await new Promise((done) => setTimeout(done, 5));
      strobe.removeProbe('lists');
      while (!strobe.status().every((one) => one.state === 'installed')) await new Promise((done) => setTimeout(done, 5));
      return [all, strobe.status().length];`,
      { rateLimits: 'off' },
    );
    for (const [at, [, wanted]] of lists.entries()) {
      const [found, silent, reasons] = loaded[at];
      assert.deepEqual([found, silent], [wanted, wanted], JSON.stringify(lists[at][0]));
      for (const reason of reasons) assert.match(reason, /is (?:on the service's deny list|not on the service's allow list)/);
    }
    assert.equal(late, 5);
  });
}
