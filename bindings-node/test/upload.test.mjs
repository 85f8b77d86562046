// Events and statuses on their way to an Agent. The accidents are those of `tests/agent/scripts`, as in Python's tests.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import test from 'node:test';
import { agent, eventsPath, scriptFile } from './agent.mjs';
import { answer, apps, bin, node, register } from './processes.mjs';

const probe = `const probe = { id: 'p', type: 'LOG_PROBE', where: { typeName: 'work.cjs', methodName: 'work', sourceFile: 'work.cjs' }, template: 'n is {n}' };
  const { work } = require(process.cwd() + '/work.cjs');
  const nap = (time) => new Promise((done) => setTimeout(done, time));`;

/** Runs a program whose events go to an Agent. */
const run = (url, body, variables = {}, settings = {}) =>
  answer(`${probe}${body}`, { ndjson: null, ...settings }, { DD_TRACE_AGENT_URL: url, ...variables });

const once = `strobe.addProbe(probe);
  work(7);
  await strobe.flush(5);
  const stats = strobe.stats();
  await strobe.stop();
  return [remarks, stats];`;

test('events and statuses arrive', async (context) => {
  const here = await agent(context);
  const about = { DD_SERVICE: 'shop', DD_ENV: 'test', DD_VERSION: '1.2', DD_TAGS: 'team:tea' };
  const [remarks, stats] = run(here.url, once, about);
  assert.deepEqual(remarks, []);
  assert.equal(stats.uploads.events, 1);
  const [event, ...more] = await here.events();
  assert.deepEqual(more, []);
  assert.deepEqual([event.message, event.service, event.ddsource], ['n is 7', 'shop', 'dd_debugger']);
  assert.match(event.process_tags, /entrypoint\.type:script.*svc\.user:true/);
  const statuses = await here.statuses();
  assert.deepEqual(statuses.map((one) => one.status), ['RECEIVED', 'INSTALLED', 'EMITTING']);
  const [id, ...others] = new Set(statuses.map((one) => one.runtimeId));
  assert.deepEqual(others, []);
  const [request] = await here.ask(`/_requests?path=${eventsPath}`);
  const tags = request.tags.split(',');
  for (const tag of ['env:test', 'version:1.2', 'team:tea', `runtime_id:${id}`]) assert.ok(tags.includes(tag), request.tags);
  assert.match(request.headers['user-agent'], /^stroboscope-node\//);
});

test('a socket of Unix', async (context) => {
  const here = await agent(context);
  run(`unix://${here.socket}`, once);
  assert.deepEqual(await here.messages(), ['n is 7']);
  const [request] = await here.ask(`/_requests?path=${eventsPath}`);
  assert.equal(request.transport, 'unix');
});

test('the service is inferred, and process tags can be switched off', async (context) => {
  const here = await agent(context);
  const variables = { DD_TRACE_AGENT_URL: here.url, DD_DYNAMIC_INSTRUMENTATION_ENABLED: 'true', DD_DYNAMIC_INSTRUMENTATION_PROBE_FILE: `${apps}../probes.json` };
  for (const more of [{}, { DD_EXPERIMENTAL_PROPAGATE_PROCESS_TAGS_ENABLED: 'false' }]) {
    const { status, stderr } = node(['--require', register, 'cart.cjs'], { variables: { ...variables, ...more } });
    assert.deepEqual([status, stderr], [3, '']);
  }
  const found = await here.events();
  assert.deepEqual(found.map((event) => event.service), Array(6).fill('cart'));
  const tags = found.map((event) => event.process_tags);
  assert.match(tags[0], /entrypoint\.name:cart,.*svc\.auto:cart/);
  assert.equal(tags.filter(Boolean).length, 3);
});

test('an Agent that answers after seconds delays uploads only', async (context) => {
  const info = JSON.parse(readFileSync(scriptFile('well'), 'utf8')).paths['/info'];
  const slow = { paths: { '/info': info, [eventsPath]: [{ status: 202, delay: 5 }, { status: 202 }] } };
  const here = await agent(context, slow);
  const [state, stats] = run(
    here.url,
    `strobe.addProbe({ ...probe, captureSnapshot: true, sampling: { snapshotsPerSecond: 20 } });
    let number = 0;
    while (strobe.stats().uploads.events === 0) {
      for (let n = 0; n < 100; n += 1) work(number++);
      await nap(1);
    }
    await strobe.flush(20);
    return [strobe.status()[0], strobe.stats()];`,
    {},
    // What hits cost on a busy machine is not what this is about.
    { uploadIntervalSeconds: 0.2, uploadTimeout: 20, cpuBudget: 100 },
  );
  // Tokens came meanwhile, and nothing that was caught is lost.
  assert.ok(state.emitted > 40, JSON.stringify(state));
  assert.deepEqual(Object.keys(state.dropped), ['rateLimitProbe']);
  assert.equal(stats.uploads.events, state.emitted);
  assert.deepEqual(stats.uploads.lost, {});
  assert.equal((await here.events()).length, state.emitted);
});

for (const script of ['always-failing', 'never', 'slow', 'slow-down', 'dies-in-mid-batch', 'too-large', 'garbage', 'drips', 'failing', 'v2-gone', 'without-v2', 'well', 'absent']) {
  test(`each event that is lost is counted once: ${script}`, async (context) => {
    const url = script === 'absent' ? 'http://127.0.0.1:9' : (await agent(context, script)).url;
    const [stopped, stats, state] = run(
      url,
      `strobe.addProbe({ ...probe, id: 'gone' });
      work(0);
      strobe.removeProbe('gone');
      strobe.addProbe(probe);
      for (let number = 0; number < 3500; number += 1) {
        work(number);
        if (number % 500 === 0) await nap(20);
      }
      const stopped = await strobe.stop(1);
      return [stopped, strobe.stats(), strobe.status()[0]];`,
    );
    const { lost, events } = stats.uploads;
    const sum = Object.values(lost).reduce((all, one) => all + one, 0);
    assert.equal(stats.emitted, 3501);
    assert.equal(events + sum, 3501);
    assert.deepEqual(stats.dropped, lost);
    const ofTheProbe = Object.values(state.dropped).reduce((all, one) => all + one, 0);
    assert.ok([0, 1].includes(sum - ofTheProbe), 'the one of the probe that is gone');
    assert.equal(stopped, sum === 0);
    if (script === 'well') assert.equal(sum, 0);
    if (script === 'absent') assert.equal(sum, 3501);
  });
}

test('stop is false for what was lost long before it, and flush is not', async (context) => {
  const answers = run(
    (await agent(context, 'too-large')).url,
    `strobe.addProbe(probe);
    work(1);
    const answers = [await strobe.flush(5), await strobe.flush(5), strobe.status()[0].dropped, strobe.stats().uploads];
    return [...answers, await strobe.stop(), await strobe.stop()];`,
  );
  const uploads = answers.splice(3, 1)[0];
  assert.deepEqual(answers, [false, true, { rejected: 1 }, false, true]);
  assert.deepEqual([uploads.events, uploads.lost], [0, { rejected: 1 }]);
  assert.ok(uploads.secondsSinceSuccess === null || uploads.secondsSinceSuccess >= 0);
});

test('whoever asks for the end while it is under way hears the same of it', async (context) => {
  const { url } = await agent(context, 'never');
  const answers = run(url, `strobe.addProbe(probe); work(1); return [...await Promise.all([strobe.stop(1), strobe.stop(5)]), await strobe.stop()];`);
  assert.deepEqual(answers, [false, false, true]);
});

test('an Agent that was named and gets nothing is told of, while the program runs and at its end', () => {
  const preload = { DD_DYNAMIC_INSTRUMENTATION_ENABLED: 'true', DD_DYNAMIC_INSTRUMENTATION_PROBE_FILE: `${apps}../probes.json` };
  const named = { ...preload, DD_TRACE_AGENT_URL: 'http://127.0.0.1:9' };
  const ended = node(['--require', register, 'cart.cjs'], { variables: named });
  assert.deepEqual([ended.status, ended.stderr], [3, 'stroboscope: stopped; events: 3 not delivered before the end\n']);
  const unnamed = node(['--require', register, 'cart.cjs'], { variables: preload });
  assert.deepEqual([unnamed.status, unnamed.stderr], [3, '']);
  const lasting = `const strobe = require('${bin}/../../js/index.cjs'); strobe.start({ uploadIntervalSeconds: 0.01 });
    ${probe} strobe.addProbe(probe); work(1);
    process.on('warning', () => process.exit(4));
    setTimeout(() => {}, 50_000);`;
  const running = node(['-e', lasting], { variables: { DD_TRACE_AGENT_URL: named.DD_TRACE_AGENT_URL } });
  assert.equal(running.status, 4, running.stderr);
  assert.match(running.stderr, /StroboscopeWarning: 1 event did not get to the Agent at .*: it cannot be reached/);
});

test('the end of the command has one number for what was lost', async (context) => {
  for (const [script, line] of [['never', 'events: 3 not delivered before the end\n'], ['well', '']]) {
    const { url } = await agent(context, script);
    const words = [bin, 'run', '--at', 'cart.cjs:10', '--log', 'x', '--', 'cart.cjs'];
    const { stderr } = node(words, { variables: { DD_TRACE_AGENT_URL: url } });
    assert.ok(stderr.endsWith(`cart.cjs:10  3 hits  3 events\n${line}`), stderr);
  }
});

test('no Agent and no sink is nothing to complain about', () => {
  const [remarks, stats] = run('', once.replace('flush(5)', 'flush(0.2)'), { DD_TRACE_AGENT_PORT: '1' });
  assert.deepEqual(remarks, []);
  assert.equal(stats.uploads.events, 0);
});

test('an address that cannot be used leaves the default', () => {
  const [[remark, ...more], stats] = run('http://127.0.0.1:99999', 'return [remarks, strobe.stats()]');
  assert.match(remark, /^DD_TRACE_AGENT_URL: 'http:\/\/127\.0\.0\.1:99999' is not an address/);
  assert.deepEqual(more, []);
  assert.notEqual(stats.uploads, null);
});

for (const end of ['', 'process.exit(3)', 'throw new Error("over")', 'Promise.reject(new Error("over"))', 'process.kill(process.pid, "SIGTERM")', 'process.kill(process.pid, "SIGHUP")', 'process.reallyExit(3)']) {
  test(`what was caught just before the end arrives: ${end || 'the last event'}`, async (context) => {
    const here = await agent(context);
    const program = `const strobe = require('${bin}/../../js/index.cjs'); strobe.start();
      ${probe} strobe.addProbe(probe); work('last'); ${end}`;
    const { stderr } = node(['-e', program], { variables: { DD_TRACE_AGENT_URL: here.url } });
    assert.deepEqual(await here.messages(), ['n is last'], stderr);
  });
}
