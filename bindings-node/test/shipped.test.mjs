// Functions that a program sends elsewhere as texts, where nothing of ours is: they do there what they do here.
import assert from 'node:assert/strict';
import test from 'node:test';
import { answer } from './processes.mjs';

/** Sends the text of each function to all places where it can run, and answers the texts and what came of them. */
const ship = `
  const vm = require('node:vm');
  const { once } = require('node:events');
  const { Worker } = require('node:worker_threads');
  const { execFileSync } = require('node:child_process');
  const functions = require(process.cwd() + '/shipped.cjs');
  const call = "const told = async (made) => { const value = made(7); return value?.next ? [...value][0] : value; };";
  async function thread(text) {
    const program = call + "told(" + text + ").then((value) => require('node:worker_threads').parentPort.postMessage(value));";
    const [value] = await once(new Worker(program, { eval: true, execArgv: [], env: {} }), 'message');
    return value;
  }
  async function shipped(textOf) {
    const answers = {};
    const texts = {};
    for (const [name, own] of Object.entries(functions)) {
      // A method is no expression by itself.
      const text = name === 'ring' ? '({ ' + textOf(own).replace('static ', '') + ' }).ring' : '(' + textOf(own) + ')';
      const program = call + 'told(' + text + ').then((value) => console.log(value));';
      const child = execFileSync(process.execPath, ['-e', program], { encoding: 'utf8', env: {} });
      texts[name] = text;
      const here = eval(call + 'told');
      answers[name] = [
        await here(own), await here((0, eval)(text)), await here(new Function('return ' + text)()),
        await here(vm.runInNewContext(text)), await thread(text), Number(child),
      ];
    }
    return { answers, texts };
  }`;

const wanted = { plain: 16, arrow: 21, later: 28, counted: 35, ring: 42 };

for (const probed of [false, true]) {
  test(`a function that is sent elsewhere is the program's own${probed ? ', with a probe in it here' : ''}`, () => {
    const [{ answers, texts }, foreign, hits] = answer(`
      ${probed ? "for (const methodName of ['plain', 'arrow', 'later', 'counted', 'Till.ring']) strobe.addProbe({ id: methodName, type: 'LOG_PROBE', where: { sourceFile: 'shipped.cjs', methodName }, template: 'x' });" : ''}
      ${ship}
      const own = await shipped((one) => one.toString());
      // Of another realm: what stands in the text is shown, with our guards.
      const toString = vm.runInNewContext('Function.prototype.toString');
      const foreign = await shipped((one) => Reflect.apply(toString, one, []));
      return [own, foreign, strobe.status().map((one) => one.hits)];`);
    for (const [name, value] of Object.entries(wanted)) {
      assert.deepEqual(answers[name], Array(6).fill(value), name);
      assert.deepEqual(foreign.answers[name], Array(6).fill(value), name);
      assert.doesNotMatch(texts[name], /strobe/);
      assert.match(foreign.texts[name], /typeof \$strobe_/);
    }
    // Here twice, and where the global of the guards is: what was made of the foreign text by \`eval\` and \`Function\`.
    assert.deepEqual(hits, probed ? Array(5).fill(4) : []);
  });
}
