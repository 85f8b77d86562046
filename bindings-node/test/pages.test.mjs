// The pages and the examples agree: shown files are the files, probes point at code, the shop works; and what Node's part says is
// explained in docs/troubleshooting.md.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { before, test } from 'node:test';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { cleanEnvironment, register } from './processes.mjs';

const root = fileURLToPath(new URL('../../', import.meta.url));
const examples = path.join(root, 'examples/node');
const shop = path.join(examples, 'shop');
const command = path.join(root, 'bindings-node/bin/stroboscope.mjs');
const read = (...parts) => fs.readFileSync(path.join(root, ...parts), 'utf8');

function run(folder, ...words) {
  const { status, stdout, stderr } = spawnSync(process.execPath, words, { cwd: folder, encoding: 'utf8', timeout: 90_000 });
  return { status, stdout, stderr };
}

before(() => {
  const built = spawnSync(path.join(shop, 'build.sh'), { encoding: 'utf8' });
  assert.equal(built.status, 0, built.stderr + built.stdout);
});

test('shown examples are the files', () => {
  const pages = ['README.md', 'bindings-node/README.md', ...fs.readdirSync(path.join(root, 'docs')).filter((name) => name.endsWith('.md')).map((name) => `docs/${name}`)];
  let shown = 0;
  for (const page of pages) {
    for (const [, name, block] of read(page).matchAll(/<!-- (examples\/node\/\S+) -->\n```\w*\n(.*?)```/gs)) {
      assert.equal(block, read(name), `${name} in ${page}`);
      shown += 1;
    }
  }
  assert.ok(shown >= 2, 'the pages show nothing of examples/node');
});

test('links of the package lead somewhere', () => {
  for (const [, target] of read('bindings-node/README.md').matchAll(/\]\(([^)#:]+)(?:#[^)]*)?\)/g)) {
    assert.ok(fs.existsSync(path.join(root, 'bindings-node', target)), target);
  }
});

test('marked lines have their probe', () => {
  const probes = JSON.parse(read('examples/node/shop/probes.json'));
  const folder = path.dirname(probes[0].where.sourceFile);
  let marked = 0;
  for (const name of fs.readdirSync(path.join(shop, folder)).filter((name) => /\.[jt]s$/.test(name))) {
    for (const [at, line] of read('examples/node/shop', folder, name).split('\n').entries()) {
      const [, id] = /\/\/ probe: (\S+)/.exec(line) ?? [];
      if (id === undefined) continue;
      const { where } = probes.find((probe) => probe.id === id);
      assert.deepEqual(where, { sourceFile: `${folder}/${name}`, lines: [String(at + 1)] });
      marked += 1;
    }
  }
  assert.equal(marked, 2);
});

test('the shop serves without probes', () => {
  const { status, stdout, stderr } = run(shop, 'dist/main.js', '1');
  assert.equal(status, 0, stderr);
  assert.match(stdout, /^\d+ visitors have left$/m);
  assert.equal(stderr, '');
});

test('the demo shows each probe and ends', () => {
  const { status, stderr } = run(shop, command, 'run', '--probes', 'probes.json', '--', 'dist/main.js', '6');
  assert.equal(status, 0, stderr);
  for (const id of ['line-added', 'slow-price', 'below-zero', 'refused', 'inside-fastify']) assert.ok(stderr.includes(`[${id}]`), stderr);
  assert.match(stderr, /12 x \w+ cost \d+ after \d+/);
  assert.match(stderr, /we pay c\d+: -\d+ with \[/);
  assert.match(stderr, /POST \/carts\/c\d+\/order for Object\{id: "c\d+"\}/);
  assert.doesNotMatch(stderr, /POST \/carts\/c\d+\/lines/);
});

test('the second act of the demo shows each probe and takes them back', () => {
  const words = ['../../fleet.py', 'fleet.json', '--', process.execPath, '--import', pathToFileURL(register).href, 'dist/main.js', '12'];
  const { status, stdout, stderr } = spawnSync('python3', words, { cwd: shop, encoding: 'utf8', env: cleanEnvironment(), timeout: 120_000 });
  assert.deepEqual([status, stderr], [0, '']);
  for (const text of [/ x \w+ cost \d+/, / x \w+ took \d+/, / {2}quantity = \d+/, /shop\.price_ms:[\d.]+/, /taken back: 0 more/]) {
    assert.match(stdout, text);
  }
});

test('the commands that the pages name work', () => {
  const lines = read('README.md').split('\n').filter((line) => line.startsWith('npx stroboscope run') && line.endsWith('Ada Grace'));
  assert.equal(lines.length, 4);
  for (const line of lines) {
    const words = line.slice('npx stroboscope '.length).match(/'[^']*'|\S+/g).map((word) => word.replaceAll("'", ''));
    const { status, stdout, stderr } = run(path.join(examples, 'hello'), command, ...words);
    assert.deepEqual([status, stdout], [0, 'hello Ada\nhello Grace, hello Grace\n'], stderr);
    assert.match(stderr, /hello\.mjs:(?:5|greet) .*2 hits +[12] events?/, line);
  }
});

test('the embedded example logs', () => {
  const folder = path.join(examples, 'embed');
  const name = path.join(folder, 'node_modules/stroboscope');
  fs.mkdirSync(path.dirname(name), { recursive: true });
  // As `npm install ../../../bindings-node` does it.
  fs.rmSync(name, { force: true });
  fs.symlinkSync(path.join(root, 'bindings-node'), name);
  const { status, stdout, stderr } = run(folder, 'embed.mjs');
  assert.equal(status, 0, stderr);
  assert.match(stderr, /5 x 5 is large/);
  assert.doesNotMatch(stderr, /3 x 3 is large/);
  const [probe] = JSON.parse(stdout);
  assert.deepEqual([probe.id, probe.emitted], ['large', 2]);
});

const trouble = read('docs/troubleshooting.md').replace(/\s+/g, ' ');

/** A file of ours as far as it speaks: without its tests, each text in one piece. */
function source(name) {
  const [text] = read('bindings-node', name).split('#[cfg(test)]');
  return text.replace(/\\\n\s*|"\n\s*"/g, '');
}

/** The longest piece of a message that does not vary. */
function fixed(text) {
  const pieces = text.split(/[`'\u2018]*\$?\{[^{}]*\}['`]*|\\./).map((piece) => piece.replace(/^[ :;,.()'`\\]+|[ :;,.()'`\\]+$/g, ''));
  return pieces.reduce((longest, piece) => (piece.length > longest.length ? piece : longest), '');
}

/** Where messages that people see are written, and how they begin there. */
const spoken = [
  ['src/command.rs', /(?:NoProgram::new\(\w+, |why = )format!\("([^"]{12,})"/g],
  ['../core/process/src/room.rs', /Some\(format!\(\s*"([^"]+)"/g],
  ['js/register.cjs', /stderr\.write\(`stroboscope: ([^`]+)`/g],
  ['js/realm.cjs', /emitWarning\(`([^`]+)`/g],
  ['src/units.rs', /(?:Outcome::\w+|reason =|reason:|path\.to_owned\(\),|error!\(target: "stroboscope",|Some\()[\s(]*(?:format!\(\s*)?"([^"]{12,})"/g],
  ['src/place.rs', /Missing::new\("\w+", (?:format!\()?"([^"]{12,})"/g],
  ['src/place.rs', /reason = format!\(\s*"([^"]{12,})"/g],
  ['src/error.rs', /said\("([^"]+)"/g],
  ['src/hands.rs', /error!\(target: "stroboscope", "([^"]+)"/g],
  ['src/session.rs', /(?:said\((?:format!\()?|(?:warn|error)!\(target: "stroboscope", )"([^"{][^"]{12,})"/g],
  ['src/cache.rs', /(?:Unsafe\(format!\(|warn\(&format!\(|warn!\(target: "stroboscope", )"([^"]+)"/g],
  ['rewriter/src/uses.rs', /^const \w+: &str = "([^"]+)"/gm],
];
/** Who reads these knows all that a page could say, or they are explained by others. */
const saysItAll = ['it is outside of functions', 'it has no message', 'our own code failed; please report it'];

for (const [name, begins] of spoken) {
  test(`what people are told in ${name} is explained: ${begins.source.slice(0, 24)}`, () => {
    const messages = [...source(name).matchAll(begins)].map(([, text]) => text).filter((text) => !saysItAll.includes(text));
    assert.ok(messages.length > 0, 'the pattern finds nothing any more');
    assert.deepEqual(messages.filter((text) => !trouble.toLowerCase().includes(fixed(text).toLowerCase())), []);
  });
}
