// What is told of modules to those who write probes: the symbol database, to the stand-in Agent of `tests/agent`.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, readFileSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import test from 'node:test';
import { gunzipSync } from 'node:zlib';
import { agent } from './agent.mjs';
import { node, register } from './processes.mjs';

/** The event, the file and the headers of each form that came. */
async function forms(here) {
  const requests = await here.ask('/_requests?path=/symdb/v1/input');
  return requests.map((request) => {
    const body = Buffer.from(request.body_base64, 'base64');
    const eventAt = body.indexOf('\r\n\r\n') + 4;
    const event = JSON.parse(body.subarray(eventAt, body.indexOf('\r\n--', eventAt)).toString());
    const fileAt = body.indexOf('\r\n\r\n', eventAt) + 4;
    const file = JSON.parse(gunzipSync(body.subarray(fileAt, fileAt + event.attachmentSize)).toString());
    return { event, file, headers: request.headers };
  });
}

async function modules(here) {
  const scopes = (await forms(here)).flatMap(({ file }) => file.scopes);
  assert.equal(new Set(scopes.map((scope) => scope.name)).size, scopes.length, 'each module once');
  return new Map(scopes.map((scope) => [path.basename(scope.source_file), scope]));
}

const main = `const strobe = require(process.env.STROBE_INDEX);
const told = async (count) => {
  const until = Date.now() + 50_000;
  while (strobe.stats().uploads.symbols < count && Date.now() < until) await new Promise((done) => setTimeout(done, 10));
  return strobe.stats().uploads.symbols;
};
`;

/** A folder with a program. */
function folder(context, files) {
  const made = realpathSync(mkdtempSync(path.join(tmpdir(), 'symbols-')));
  context.after(() => rmSync(made, { recursive: true }));
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(path.dirname(path.join(made, name)), { recursive: true });
    writeFileSync(path.join(made, name), text);
  }
  return made;
}

const index = new URL('../js/index.cjs', import.meta.url).pathname;

function run(here, cwd, more = {}) {
  const variables = {
    DD_TRACE_AGENT_URL: here.url,
    DD_DYNAMIC_INSTRUMENTATION_ENABLED: 'true',
    _DD_SYMBOL_DATABASE_FORCE_UPLOAD: 'true',
    DD_SERVICE: 'shop',
    STROBE_CACHE: 'off',
    STROBE_INDEX: index,
    ...more,
  };
  const { status, stdout, stderr } = node(['--require', register, 'main.cjs'], { cwd, variables });
  assert.deepEqual([status, stderr], [0, '']);
  return stdout === '' ? null : JSON.parse(stdout);
}

const inner = (scope, ...names) => names.reduce((one, name) => one.scopes.find((each) => each.name === name), scope);
const named = (scope, kind) => scope.symbols.filter((symbol) => symbol.symbol_type === kind).map((symbol) => symbol.name);
const lines = (scope) => scope.injectible_lines.flatMap(({ start, end }) => Array.from({ length: end - start + 1 }, (_, at) => start + at));

const shop = `const rate = 2;
class Base {}
class Cart extends Base {
  items = [];
  static limit = 7;
  get size() { return this.items.length; }
  total(by, { tax = 1 } = {}) {
    let sum = 0;
    for (const item of this.items) {
      sum += item
        * by;
    }
    const more = (x) => x + sum + tax;
    return more(rate);
  }
}
async function ask(n) { return n; }
function* rows(n) { yield n; }
async function* stream() { yield 1; }
`;

for (const [name, file, load, end] of [
  ['CommonJS', 'shop.cjs', "require('./shop.cjs')", 'module.exports = { Cart, ask, rows, stream };'],
  ['ES', 'shop.mjs', "await import('./shop.mjs')", 'export { Cart, ask, rows, stream };'],
]) {
  test(`classes, functions and their variables are told of a module of ${name}`, async (context) => {
    const here = await agent(context);
    const text = shop + end;
    const cwd = folder(context, { 'main.cjs': `${main}(async () => { ${load}; console.log(await told(2)); })();`, [file]: text });
    assert.equal(run(here, cwd, { DD_ENV: 'e1', DD_VERSION: '1.2' }), 2);
    const all = await modules(here);
    assert.deepEqual([...all.keys()].sort(), ['main.cjs', file]);
    const module = all.get(file);
    assert.deepEqual([module.scope_type, module.source_file], ['MODULE', path.join(cwd, file)]);
    const blob = createHash('sha1').update(`blob ${Buffer.byteLength(text)}\0${text}`).digest('hex');
    assert.deepEqual(module.language_specifics, { file_hash: blob });
    assert.ok(named(module, 'STATIC_FIELD').includes('rate'));
    const cart = inner(module, 'Cart');
    assert.deepEqual([cart.scope_type, cart.start_line, cart.end_line], ['CLASS', 3, 16]);
    assert.deepEqual(cart.language_specifics, { super_classes: ['Base'] });
    assert.deepEqual([named(cart, 'FIELD'), named(cart, 'STATIC_FIELD')], [['items'], ['limit']]);
    assert.equal(inner(cart, 'size').language_specifics.method_type, 'property');
    const total = inner(cart, 'total');
    assert.deepEqual([total.scope_type, total.start_line, total.end_line], ['FUNCTION', 7, 15]);
    assert.deepEqual([named(total, 'ARG'), named(total, 'LOCAL')], [['by', 'tax'], ['sum', 'item', 'more']]);
    assert.deepEqual(lines(total), [8, 9, 10, 13, 14]);
    const more = inner(total, 'more');
    assert.deepEqual([more.scope_type, named(more, 'ARG')], ['CLOSURE', ['x']]);
    const kinds = ['ask', 'rows', 'stream'].map((one) => inner(module, one).language_specifics.function_type);
    assert.deepEqual(kinds, ['coroutine', 'generator', 'asyncgen']);
    const [{ event, file: first, headers }] = await forms(here);
    assert.deepEqual([first.language, first.service, first.env, first.version], ['javascript', 'shop', 'e1', '1.2']);
    assert.deepEqual([event.uploadId, event.batchNum, event.final], [first.upload_id, first.batch_num, first.final]);
    assert.ok(headers['x-datadog-additional-tags'].split(',').includes('env:e1'));
  });
}

test('a module that was compiled is told as its originals', async (context) => {
  const here = await agent(context);
  // Two originals; each line of the text comes from one of theirs.
  const map = { version: 3, sources: ['a.ts', 'b.ts'], names: [], mappings: 'AAIA;ACAA' };
  const text = `function fromA(x) { return x; }\nfunction fromB(y) { return y; }\n//# sourceMappingURL=data:application/json;base64,${Buffer.from(JSON.stringify(map)).toString('base64')}\n`;
  const cwd = folder(context, { 'main.cjs': `${main}require('./both.js'); told(2).then(console.log);`, 'both.js': text, 'a.ts': 'x\n', 'b.ts': 'y\n' });
  assert.ok(run(here, cwd) >= 2);
  const all = await modules(here);
  assert.equal(all.get('a.ts').source_file, path.join(cwd, 'a.ts'));
  assert.deepEqual(all.get('a.ts').scopes.map((scope) => [scope.name, scope.start_line, named(scope, 'ARG')]), [['fromA', 5, ['x']]]);
  assert.deepEqual(all.get('b.ts').scopes.map((scope) => [scope.name, named(scope, 'ARG')]), [['fromB', ['y']]]);
  assert.ok(!all.has('both.js'));
});

test('two thousand modules are told, in batches of four hundred', async (context) => {
  const here = await agent(context);
  const files = { 'main.cjs': `${main}for (let at = 0; at < 2000; at++) require('./many/m' + at + '.cjs');\ntold(2001).then(console.log);` };
  for (let at = 0; at < 2000; at++) files[`many/m${at}.cjs`] = `const value = ${at};\nexports.work = (n) => n + value;\n`;
  assert.equal(run(here, folder(context, files)), 2001);
  const all = await modules(here);
  assert.equal(all.size, 2001);
  for (const { file } of await forms(here)) assert.ok(file.scopes.length <= 400);
});

test('libraries are left out, and modules that come later are told', async (context) => {
  const here = await agent(context);
  const cwd = folder(context, {
    'main.cjs': `${main}(async () => { require('left'); await told(1); require('./late.cjs'); console.log(await told(2)); })();`,
    'late.cjs': 'exports.f = () => 1;\n',
    'node_modules/left/index.js': 'exports.f = () => 1;\n',
  });
  assert.equal(run(here, cwd), 2);
  assert.deepEqual([...(await modules(here)).keys()].sort(), ['late.cjs', 'main.cjs']);
});

for (const name of ['DD_SYMBOL_DATABASE_UPLOAD_ENABLED', '_DD_SYMBOL_DATABASE_FORCE_UPLOAD']) {
  test(`nothing is told with ${name}=false`, async (context) => {
    const here = await agent(context);
    const body = `${main}const work = () => 1;\nstrobe.addProbe({ id: 'p', type: 'LOG_PROBE', template: 'x', where: { typeName: 'main.cjs', methodName: 'work' } });\nsetTimeout(() => {}, 2500);`;
    run(here, folder(context, { 'main.cjs': body }), { [name]: 'false' });
    assert.ok((await here.statuses()).length > 0);
    assert.deepEqual(await forms(here), []);
  });
}
