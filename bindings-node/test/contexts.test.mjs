// What the program compiles itself, by `vm`: here and in contexts of its own, as Jest does.
import assert from 'node:assert/strict';
import path from 'node:path';
import test from 'node:test';
import { answer, apps, bin, events, node } from './processes.mjs';

const cwd = path.join(apps, 'compiled');

/** What the program printed in one of its ways, without us and with probes; and their events. */
function compared(way, words, options = []) {
  const bare = node([...options, 'run.cjs', way], { cwd });
  const { stdout, stderr, status } = node([...options, bin, 'run', '--json', '-', '--rate', 'all', ...words, '--', 'run.cjs', way], { cwd });
  const printed = stdout.split('\n').filter((line) => !line.startsWith('{')).join('\n');
  assert.deepEqual([printed, status], [bare.stdout, bare.status], stderr);
  return { events: events(stdout), stderr };
}

const messages = (found) => found.events.map((event) => event.message);
const part = ['--at', 'part.js:4', '--log', '{n} of {LIMIT}', '--method', 'part.js:count', '--log', '{@return} {seen}'];

test('files that the program runs in its own globals have probes', () => {
  for (const way of ['here', 'script']) {
    const found = compared(way, part);
    assert.deepEqual(messages(found), ['3 of 2', '[2, {...}] 2'], found.stderr);
    const stack = found.events[0].debugger.snapshot.stack[0];
    assert.deepEqual([path.basename(stack.fileName), stack.function, stack.lineNumber], ['part.js', 'over', 4]);
  }
});

test('in contexts of vm too, with the globals of their own, which show nothing of us', () => {
  assert.deepEqual(messages(compared('context', part)), ['[1, {...}] 1', '3 of 2']);
  assert.deepEqual(messages(compared('contexts', part)), ['3 of 2', '[2, {...}] 2', '3 of 2', '[2, {...}] 2']);
  assert.deepEqual(messages(compared('fresh', part)), ['3 of 2', '[2, {...}] 2']);
});

test('bodies of functions, as Jest compiles files, and modules of vm', () => {
  const words = ['--at', 'body.js:3', '--log', '{n} {doubled} {right}'];
  for (const way of ['body', 'bodies']) {
    const found = compared(way, words);
    assert.deepEqual(messages(found), ['3 2 2'], found.stderr);
  }
  const virtual = ['--at', 'virtual.mjs:3', '--log', '{n} {one}'];
  assert.deepEqual(messages(compared('module', virtual, ['--experimental-vm-modules', '--no-warnings'])), ['1 1']);
});

test('what cannot have guards says why', () => {
  const top = compared('bodies', ['--at', 'body.js:1', '--log', 'x']);
  assert.match(top.stderr, /at the top level of its module, where no guard can be, and it may run in a context of vm, where no hook of a debugger is/);
  compared('cached', part);
  const [note, hits] = answer(`
    strobe.addProbe({ id: 'a', type: 'LOG_PROBE', where: { sourceFile: 'part.js', lines: ['4'] }, template: 'x' });
    const filename = process.cwd() + '/compiled/part.js';
    const script = new (require('vm').Script)(require('fs').readFileSync(filename, 'utf8'), { filename, produceCachedData: true });
    const [over] = script.runInThisContext();
    const until = async (holds, rounds) => { for (let round = 0; !holds() && round < rounds; round += 1) await new Promise((done) => setTimeout(done, 10)); };
    await until(() => strobe.status()[0].state === 'installed', 2000);
    // Its note is there before its hook is: one call may come too early.
    for (let call = 0; strobe.status()[0].hits === 0 && call < 20; call += 1) {
      over(1);
      await until(() => strobe.status()[0].hits > 0, 50);
    }
    return [strobe.status()[0].note, strobe.status()[0].hits];`);
  assert.match(note, /conditional breakpoint \(tier B\), since the program compiles it with a code cache \(vm\)/);
  assert.ok(hits > 0);
});

test('what Node refuses is refused in its words', () => {
  assert.deepEqual(messages(compared('failing', part)), []);
});

test('contexts that are gone leave nothing behind', () => {
  const found = compared('forgotten', ['--at', 'part.js:4', '--log', 'x'], ['--expose-gc']);
  assert.deepEqual(messages(found), []);
});
