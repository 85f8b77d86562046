// Probes that come, change and go by remote configuration while a program runs. What the core decides is tried in full in
// Python's tests; here is that it is the same, and what Node has of its own: threads, clusters, modules that load later.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import readline from 'node:readline';
import test from 'node:test';
import { agent, at, states, until } from './agent.mjs';
import { apps, cleanEnvironment, register } from './processes.mjs';

const fast = {
  DD_SERVICE: 'shop',
  DD_REMOTE_CONFIG_POLL_INTERVAL_SECONDS: '0.05',
  DD_DYNAMIC_INSTRUMENTATION_UPLOAD_INTERVAL_SECONDS: '0.1',
  DD_DYNAMIC_INSTRUMENTATION_ENABLED: 'true',
};

/** A log probe that says its tag, and what the function is called with. */
function log(tag, methodName = 'work', more = {}) {
  const where = { typeName: 'works.cjs', sourceFile: 'works.cjs', methodName };
  return { id: 'a', version: 1, type: 'LOG_PROBE', language: 'javascript', where, template: `${tag} {x}`, ...more };
}

/** A program whose probes come from the Agent; what it does by itself says `beat`. */
class Program {
  constructor(context, here, { words = ['works.cjs'], url = here.url, probes = [], variables = {} } = {}) {
    const file = path.join(here.folder, 'probes.json');
    writeFileSync(file, JSON.stringify([log('beat', 'beat', { id: 'beat' }), ...probes]));
    const env = {
      ...cleanEnvironment(), ...fast, DD_TRACE_AGENT_URL: url, DD_DYNAMIC_INSTRUMENTATION_PROBE_FILE: file, ...variables,
      NODE_OPTIONS: `--require ${register}`,
    };
    this.here = here;
    this.process = spawn(process.execPath, words, { cwd: apps, env, stdio: ['pipe', 'pipe', 'pipe'] });
    this.ended = once(this.process, 'close');
    this.errors = '';
    this.process.stderr.setEncoding('utf8').on('data', (text) => (this.errors += text));
    this.lines = readline.createInterface({ input: this.process.stdout })[Symbol.asyncIterator]();
    context.after(() => this.process.kill('SIGKILL'));
  }

  /** What an expression is worth in the program. */
  async ask(expression) {
    this.process.stdin.write(`${expression}\n`);
    return (await this.lines.next()).value;
  }

  async now() {
    return Number(await this.ask('x'));
  }

  /** Waits until probes have said something of calls that begin now. */
  async runs(...tags) {
    const now = await this.now();
    const said = async () => tags.filter((tag) => !heard.some(([one, x]) => one === tag && x > now));
    let heard = [];
    await until(async () => {
      heard = await this.here.said();
      return (await said()).length === 0;
    }, said);
  }

  /** A good many calls from now on are said by the program's own probe, and by none of these. */
  async isSilent(...tags) {
    const now = await this.now();
    await until(async () => (await this.here.said()).some(([tag, x]) => tag === 'beat' && x > now + 20));
    const late = (await this.here.said()).filter(([tag, x]) => tags.includes(tag) && x > now);
    assert.deepEqual(late, []);
  }

  async end() {
    this.process.stdin.end();
    const [code, signal] = await this.ended;
    assert.deepEqual([code, signal], [0, null], this.errors);
    return this.errors;
  }
}

const sha256 = (text) => createHash('sha256').update(text).digest('hex');

/** What the only client says that it holds: versions by id, and length and hash by path. */
async function held(here) {
  const [client] = await here.settled();
  assert.equal(client.state.targets_version, client.version);
  assert.ok(!client.state.has_error, client.state.error);
  const files = (client.cached_target_files ?? []).map(({ path: name, length, hashes }) => [name, [length, hashes[0].hash]]);
  const versions = (client.state.config_states ?? []).map((one) => [one.id, one.version]);
  return [Object.fromEntries(versions), Object.fromEntries(files)];
}

for (const transport of ['tcp', 'unix']) {
  test(`nine steps, by ${transport}`, async (context) => {
    const here = await agent(context, 'configures');
    const program = new Program(context, here, { url: transport === 'unix' ? `unix://${here.socket}` : here.url });
    const steps = [
      {},
      { a: log('a1') },
      { a: log('a2', 'work', { version: 2 }) },
      { a: null },
      { a: log('a3', 'work', { version: 3 }), b: log('b1', 'other', { id: 'b' }) },
      { a: log('a4', 'work', { version: 4 }), b: null },
      {},
      { a: null },
    ];
    const running = new Map();
    const gone = new Set();
    for (const step of steps) {
      await here.offer(Object.fromEntries(Object.entries(step).map(([name, probe]) => [at(name), probe && JSON.stringify(probe)])));
      for (const [name, probe] of Object.entries(step)) {
        if (running.has(name)) gone.add(running.get(name).template.split(' ')[0]);
        running.delete(name);
        if (probe) running.set(name, probe);
      }
      const [versions, files] = await held(here);
      const known = (await here.ask('/_remote')).files;
      const texts = [...running].map(([name, probe]) => [at(name), JSON.stringify(probe)]);
      assert.deepEqual(files, Object.fromEntries(texts.map(([name, text]) => [name, [text.length, sha256(text)]])));
      assert.deepEqual(versions, Object.fromEntries([...running.keys()].map((name) => [`logProbe_${name}`, known[at(name)].v])));
      await program.runs('beat', ...[...running.values()].map((probe) => probe.template.split(' ')[0]));
      await program.isSilent(...gone);
    }
    const before = await here.polls(0, { answer: 'update' });
    await here.morePolls(3);
    assert.deepEqual(await here.polls(0, { answer: 'update' }), before, 'an update is sent once');
    assert.deepEqual([...new Set((await here.polls()).map((poll) => poll.transport))], [transport]);
    assert.deepEqual(await here.problems(), []);
    assert.equal(await program.end(), '');
  });
}

test('who asks', async (context) => {
  const here = await agent(context, 'configures');
  const program = new Program(context, here, { variables: { DD_ENV: 'test', DD_VERSION: '1.2', DD_TAGS: 'team:tea' } });
  const [{ tracer, products }] = await here.settled();
  const { language, service, env, app_version: version } = tracer;
  assert.deepEqual([language, service, env, version], ['node', 'shop', 'test', '1.2']);
  for (const tag of ['team:tea', 'env:test', 'version:1.2']) assert.ok(tracer.tags.includes(tag), tracer.tags);
  for (const product of ['LIVE_DEBUGGING', 'APM_TRACING']) assert.ok(products.includes(product), products);
  await program.runs('beat');
  const [{ runtime }] = await here.sent();
  assert.equal(runtime, tracer.runtime_id);
  assert.deepEqual(await here.problems(), []);
  await program.end();
});

test('a program that has ended its work is not kept', async (context) => {
  const here = await agent(context, 'configures');
  const program = new Program(context, here, { words: ['cart.cjs'] });
  assert.deepEqual(await program.ended, [3, null]);
});

const bad = {
  'no JSON': '{',
  'an array': [],
  'an unknown type': log('x', 'work', { id: 'bad', type: 'OTHER_PROBE' }),
  'no where': log('x', 'work', { id: 'bad', where: undefined }),
  'an empty where': log('x', 'work', { id: 'bad', where: {} }),
};

test('a bad file spoils only itself', async (context) => {
  const here = await agent(context, 'configures');
  const program = new Program(context, here);
  await here.offer({ [at('good')]: log('good', 'work', { id: 'good' }) });
  let version = 0;
  for (const [what, file] of Object.entries(bad)) {
    version += 1;
    await here.offer({ [at('0bad')]: file, [at('other')]: log(`other${version}`, 'other', { id: 'other', version }) });
    const [client] = await here.settled(1, { path: at('0bad') });
    assert.deepEqual(states(client), { logProbe_0bad: 3, logProbe_good: 2, logProbe_other: 2 }, what);
    await program.runs('good', `other${version}`);
  }
  assert.deepEqual(await here.problems(), []);
  await program.end();
});

/** Waits for the only client to say that it cannot take this. */
async function refused(here, code) {
  const last = async () => (await here.morePolls(1))[0].request.client.state;
  await until(async () => ((await last()).error ?? '').startsWith(code), last);
}

test('what is wrong in an answer changes nothing', async (context) => {
  const here = await agent(context, 'configures');
  const { roots } = await here.ask('/_remote');
  const program = new Program(context, here, { variables: { STROBE_REMOTE_CONFIG_TRUST_ROOT: JSON.stringify(roots[0]) } });
  await here.offer({ [at('a')]: log('good'), [at('b')]: log('b0', 'other', { id: 'b' }) });
  await here.settled(1, { path: at('b') });
  const wrong = (hashes) => ({ signed: { targets: { [at('b')]: hashes } } });
  const edits = [
    [wrong({ hashes: { sha256: '00'.repeat(32) } }), 'file_hash'],
    [wrong({ length: 1 }), 'file_length'],
    [{ files: { [at('b')]: null } }, 'file_missing'],
    [{ keys: ['stranger'] }, 'targets_signature'],
    [{ signed: { expires: '2001-01-01T00:00:00Z' } }, 'targets_expired'],
    [{ version: -1000000 }, 'targets_rollback'],
    [{ answer: { new: 'x'.repeat(5 << 20) } }, 'too_large'],
  ];
  let version = 0;
  for (const [edit, code] of edits) {
    version += 1;
    await here.answers({ remote: edit });
    await here.offer({ [at('b')]: log(`b${version}`, 'other', { id: 'b', version }) });
    await refused(here, code);
    await program.runs('good', `b${version - 1}`);
    await program.isSilent(`b${version}`);
    await here.answers({ remote: {} });
    await here.settled();
    await program.runs('good', `b${version}`);
  }
  const chain = [{}, {}, {}, { targets: ['new'] }];
  await here.ask('/_remote', { roots: chain });
  await here.offer({ [at('b')]: null });
  const [client] = await here.settled();
  assert.equal(client.state.root_version, 4);
  await program.isSilent(`b${version}`);
  assert.deepEqual(await here.problems(), []);
  await program.end();
});

test('404, and an Agent that fails, hangs, goes and comes again', async (context) => {
  const here = await agent(context, 'configures');
  const program = new Program(context, here);
  await here.offer({ [at('a')]: log('a') });
  await here.settled(1, { path: at('a') });
  for (const failure of [{ status: 500 }, { status: 404 }, { drop: 'accept', reset: true }, { delay: 4 }, { body: '{]' }]) {
    await here.answers({ ...failure, times: 2 }, { remote: {} });
    await here.morePolls(2);
    await program.runs('a');
    await here.settled(1, { path: at('a') });
  }
  await here.answers({ status: 404 });
  await here.morePolls(4);
  await program.isSilent('a');
  await here.answers({ remote: {} });
  await here.settled(1, { path: at('a') });
  await program.runs('a');
  await here.end();
  await program.now();
  await here.again();
  await here.offer({ [at('b')]: log('b', 'other', { id: 'b' }) });
  await here.settled(1, { path: at('b') });
  await program.runs('a', 'b');
  assert.deepEqual(await here.problems(), []);
  await program.end();
});

test('the product is switched off and on again, in both forms', async (context) => {
  const here = await agent(context, 'configures');
  const program = new Program(context, here);
  await here.offer({ [at('a')]: log('a') });
  await here.settled(1, { path: at('a') });
  for (const form of ['sdk_config', 'lib_config']) {
    await here.ask('/_remote', { switch: { on: false, forms: [form] } });
    await until(async () => !(await here.polls()).at(-1).request.client.products.includes('LIVE_DEBUGGING'));
    await here.settled();
    await here.ask('/_remote', { switch: { on: true, forms: [form] } });
    await here.settled(1, { path: at('a') });
    await program.runs('a');
  }
  assert.deepEqual(await here.problems(), []);
  await program.end();
});

test('a remote probe wins over that of the file by its id, and ends at its expiry', async (context) => {
  const here = await agent(context, 'configures');
  const program = new Program(context, here, { probes: [log('file')] });
  await program.runs('file');
  await here.offer({ [at('a')]: log('remote', 'work', { expiresAt: Date.now() + 4000 }) });
  await here.settled(1, { path: at('a') });
  await program.runs('remote');
  await program.isSilent('file');
  await until(async () => {
    const now = await program.now();
    await until(async () => (await here.said()).some(([tag, x]) => tag === 'beat' && x > now + 20));
    return !(await here.said()).some(([tag, x]) => tag === 'remote' && x > now);
  });
  await program.end();
});

test('a module that loads later gets what came before', async (context) => {
  const here = await agent(context, 'configures');
  const program = new Program(context, here);
  await here.offer({ [at('a')]: log('late', 'work', { where: { sourceFile: 'work.cjs', lines: ['4'] }, template: 'late {n}' }) });
  await here.settled(1, { path: at('a') });
  assert.equal(await program.ask("require('./work.cjs').work(7)"), '8');
  await until(async () => (await here.said()).some(([tag, x]) => tag === 'late' && x === 7));
  await program.end();
});

/** The processes and threads that say a tag. */
async function whoSays(here, tag) {
  const said = (await here.sent()).filter(({ event }) => event.message.startsWith(`${tag} `));
  return new Set(said.map(({ runtime, event }) => `${runtime} ${event.logger.thread_id}`));
}

const serves = (tag, more = {}) => ({ ...log(tag, 'serve', more), where: { typeName: 'many-workers.cjs', sourceFile: 'many-workers.cjs', methodName: 'serve' } });

test('a cluster of four: all have the probes, each asks under its own name, and one that is killed is replaced', async (context) => {
  const here = await agent(context, 'configures');
  const program = new Program(context, here, { words: ['many-workers.cjs', 'cluster', '4'] });
  const clients = await here.settled(5);
  await here.offer({ [at('a')]: serves('first') });
  await here.settled(5, { path: at('a') });
  await until(async () => (await whoSays(here, 'first')).size === 4);
  const names = new Set(clients.map((client) => client.tracer.runtime_id));
  assert.equal(names.size, 5);
  for (const who of await whoSays(here, 'first')) assert.ok(names.has(who.split(' ')[0]), who);
  program.process.stdin.write('kill one\n');
  await until(async () => (await whoSays(here, 'first')).size === 5, async () => [...(await whoSays(here, 'first'))]);
  await here.offer({ [at('a')]: serves('second', { version: 2 }) });
  await until(async () => (await whoSays(here, 'second')).size === 4);
  assert.deepEqual(await here.problems(), []);
  await program.end();
});

test('threads: all have the probes, and their process asks once', async (context) => {
  const here = await agent(context, 'configures');
  const program = new Program(context, here, { words: ['many-workers.cjs', 'threads', '3'] });
  await here.offer({ [at('a')]: serves('first') });
  const [client] = await here.settled(1, { path: at('a') });
  await until(async () => (await whoSays(here, 'first')).size === 3);
  await here.offer({ [at('a')]: serves('second', { version: 2 }) });
  await until(async () => (await whoSays(here, 'second')).size === 3);
  for (const who of await whoSays(here, 'second')) assert.equal(who.split(' ')[0], client.tracer.runtime_id);
  await here.offer({ [at('a')]: null });
  await here.settled();
  assert.equal((await here.ask('/_remote')).clients.length, 1);
  assert.deepEqual(await here.problems(), []);
  await program.end();
});
