// The session as a program uses it: in a process of its own, since there is one session in each.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, realpathSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import test from 'node:test';
import { fileURLToPath } from 'node:url';
import { answer, apps, events, register } from './processes.mjs';

test('settings go in by their names in camel case', () => {
  const remarks = answer('return remarks', { uploadIntervalSeconds: 'soon', service: 'till', noSuch: 1 });
  assert.equal(remarks.length, 2, remarks.join('\n'));
  assert.match(remarks.join('\n'), /'soon' is not/);
  assert.match(remarks.join('\n'), /the option 'noSuch' is unknown and ignored/);
});

test('what is no argument says what is', () => {
  const said = answer(`
    const said = [];
    const tries = [() => strobe.start(5), () => strobe.addProbe(undefined), () => strobe.addProbe(() => 1), () => strobe.removeProbe(null)];
    for (const one of tries) try { one(); } catch (error) { said.push(error.message); }
    for (const one of [strobe.flush('1'), strobe.stop({})]) await one.catch((error) => said.push(error.message));
    return said;`);
  assert.deepEqual(said, [
    'settings are an object, by option names; got number',
    'a probe is an object, or its JSON text; got undefined',
    'a probe is an object, or its JSON text; got function',
    'the id of a probe is a string; got null',
    "the time is a number of seconds; got '1'",
    'the time is a number of seconds; got object',
  ]);
});

test('a value that a setting does not take is refused', () => {
  const said = answer(`
    await strobe.stop();
    const said = [];
    const tries = [
      { redactedIdentifiers: /width/ }, { redactedIdentifiers: { width: true } }, { redactedIdentifiers: () => 'width' },
      { redactedIdentifiers: [['width']] }, { tags: new Map([['a', 'b']]) }, { service: ['a'] }, { env: Symbol('x') },
      { ndjson: 5 }, { service: 5n }, { redactedIdentifiers: true },
    ];
    for (const one of tries) try { said.push(strobe.start(one)); } catch (error) { said.push(error.name + ': ' + error.message); }
    for (const one of [[], new Map()]) try { said.push(strobe.start(one)); } catch (error) { said.push(error.message); }
    return said;`);
  const list = "TypeError: the setting 'redactedIdentifiers' takes a text, or a list of texts; got";
  assert.deepEqual(said, [
    `${list} an object of a class`,
    `${list} a table`,
    `${list} a function`,
    `${list} a list of something else`,
    "TypeError: the setting 'tags' takes a text, a list of texts, or a table of them; got an object of a class",
    "TypeError: the setting 'service' takes a text; got a list",
    "TypeError: the setting 'env' takes a text; got a symbol",
    "TypeError: the setting 'ndjson' takes a text; got a number",
    "TypeError: the setting 'service' takes a text; got a number",
    `${list} true or false`,
    'settings are an object, by option names; got a list',
    'settings are an object, by option names; got a Map',
  ]);
});

test('a Set of names is a list of them', () => {
  const [remarks, written] = answer(`
    await strobe.stop();
    const ndjson = require('os').tmpdir() + '/strobe-set-' + process.pid;
    const remarks2 = strobe.start({ terminal: 'never', ndjson, redactedIdentifiers: new Set(['n']), tags: { team: 'tea', size: 3 } });
    strobe.addProbe({ id: 'a', type: 'LOG_PROBE', where: { sourceFile: 'work.cjs', methodName: 'work' }, captureSnapshot: true });
    require(process.cwd() + '/work.cjs').work(1);
    await strobe.stop();
    const written = require('fs').readFileSync(ndjson, 'utf8');
    require('fs').rmSync(ndjson);
    return [remarks2, written];`);
  assert.deepEqual(remarks, []);
  assert.equal(events(written)[0].debugger.snapshot.captures.return.arguments.n.notCapturedReason, 'redactedIdent', written);
});

test('remarks name settings as the program wrote them', () => {
  assert.deepEqual(answer(`await strobe.stop(); return strobe.start({ enabled: false });`), ['off in this process: it is switched off (enabled)']);
  assert.match(answer('return remarks', { captureTimeoutMs: 'x' })[0], /^captureTimeoutMs: 'x' is not/);
});

test('a probe waits for its file, is placed, and goes', () => {
  const [waiting, placed, found, gone] = answer(`
    const id = strobe.addProbe({ id: 'a', type: 'LOG_PROBE', where: { sourceFile: 'waits.cjs', lines: ['4'] }, template: 'x' });
    const waiting = strobe.status()[0];
    require(process.cwd() + '/waits.cjs');
    await new Promise((done) => setTimeout(done, 100));
    const placed = strobe.status()[0];
    const found = strobe.removeProbe(id);
    setTimeout(() => process.exit(), 50);
    return [waiting, placed, found, strobe.status()];`);
  assert.equal(waiting.state, 'waiting', waiting.reason);
  assert.match(waiting.reason, /waits\.cjs is not loaded yet/);
  assert.equal(placed.state, 'emitting', placed.reason);
  assert.ok(placed.hits > 3 && placed.emitted > 3, JSON.stringify(placed));
  assert.equal(found, true);
  assert.deepEqual(gone, []);
});

test('a broken definition says what is wrong with it', () => {
  const [status, thrown] = answer(`
    strobe.addProbe({ id: 'a', type: 'LOG_PROBE', where: { sourceFile: 'a.js', lines: ['x'] } });
    let thrown = '';
    try { strobe.addProbe('{"type": "LOG_PROBE"}'); } catch (error) { thrown = error.message; }
    return [strobe.status()[0], thrown];`);
  assert.equal(status.state, 'error');
  assert.notEqual(status.reason, '');
  assert.notEqual(thrown, '');
});

test('stop ends it, and tells what it came to', () => {
  const [delivered, again, stats] = answer(`
    const delivered = await strobe.stop();
    const remarks2 = strobe.start({ terminal: 'never', ndjson: '/dev/null' });
    await strobe.stop();
    return [delivered, remarks2, strobe.stats()];`);
  assert.equal(delivered, true);
  assert.deepEqual(again, []);
  assert.equal(stats.emitted, 0);
});

test('the preload is off where nobody asked for it, and on where a setting says so', () => {
  const probes = fileURLToPath(new URL('probes.json', import.meta.url));
  const ran = (variables) =>
    spawnSync(process.execPath, ['--import', register, 'cart.cjs'], { cwd: apps, encoding: 'utf8', env: { ...process.env, ...variables } });
  const off = ran({});
  assert.deepEqual([off.stdout, off.status], ['3 items\n', 3], off.stderr);
  const on = ran({
    DD_DYNAMIC_INSTRUMENTATION_ENABLED: 'true',
    DD_DYNAMIC_INSTRUMENTATION_PROBE_FILE: probes,
    STROBE_NDJSON: '-',
  });
  assert.equal(on.status, 3, on.stderr);
  const messages = on.stdout.split('\n').filter((line) => line.startsWith('{')).map((line) => JSON.parse(line).message);
  assert.deepEqual(messages, ['adds tea', 'adds milk', 'adds bread'], on.stderr);
});

test('a probe that names a link waits for the file to which it leads', (context) => {
  const folder = realpathSync(mkdtempSync(path.join(tmpdir(), 'links-')));
  context.after(() => rmSync(folder, { recursive: true }));
  symlinkSync(path.join(apps, 'work.cjs'), path.join(folder, 'other-name.cjs'));
  const [before, after] = answer(`
    strobe.addProbe({ id: 'a', type: 'LOG_PROBE', where: { sourceFile: '${folder}/other-name.cjs', lines: ['4'] }, template: 'x' });
    const before = strobe.status()[0];
    require(process.cwd() + '/work.cjs').work(1);
    await strobe.flush();
    return [before, strobe.status()[0]];`);
  assert.equal(before.state, 'waiting', before.reason);
  assert.deepEqual([after.state, after.hits], ['emitting', 1], after.reason);
});
