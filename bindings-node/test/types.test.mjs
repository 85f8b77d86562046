// What is declared for TypeScript is what is there, and settings come from the environment as from `start`.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import test from 'node:test';
import { answer, apps, events, index, node, register } from './processes.mjs';

const declared = readFileSync(new URL('../index.d.cts', import.meta.url), 'utf8');

/** The names of an interface's fields, those that may be missing apart. */
function fields(name) {
  const body = new RegExp(`interface ${name} \\{\\n(.*?)\\n\\}`, 's').exec(declared)[1];
  const found = [...body.matchAll(/^ {2}(\w+)(\??):/gm)];
  const names = (optional) => found.filter((one) => (one[2] === '?') === optional).map((one) => one[1]).sort();
  return { always: names(false), sometimes: names(true) };
}

test('statuses and counts have the fields that are declared', () => {
  const [waiting, placed, noted, metric, stats, metrics, uploads] = answer(
    `const add = (id, where) => strobe.addProbe({ id, type: 'LOG_PROBE', where, template: 'x' });
    add('waiting', { sourceFile: 'nowhere.cjs', lines: ['4'] });
    add('placed', { sourceFile: 'work.cjs', typeName: 'work', methodName: 'work' });
    require(process.cwd() + '/work.cjs');
    add('noted', { sourceFile: 'notes.cjs', lines: ['5'] });
    require(process.cwd() + '/notes.cjs');
    strobe.addProbe({ id: 'metric', type: 'METRIC_PROBE', kind: 'COUNT', metricName: 'm',
      where: { sourceFile: 'work.cjs', typeName: 'work', methodName: 'work' } });
    const states = () => strobe.status();
    while (states().filter((one) => one.file !== undefined).length < 3) await new Promise((done) => setTimeout(done, 5));
    const stats = strobe.stats();
    const find = (id) => states().find((one) => one.id === id);
    return [find('waiting'), find('placed'), find('noted'), find('metric'), stats, stats.metrics, stats.uploads].map((one) => Object.keys(one ?? {}).sort());`,
    { ndjson: null, traceAgentUrl: 'http://127.0.0.1:9' },
  );
  const { always, sometimes } = fields('ProbeStatus');
  assert.deepEqual(waiting, always);
  assert.deepEqual(placed, [...always, 'file', 'lines', 'method'].sort());
  assert.deepEqual(noted, [...always, ...sometimes].filter((name) => name !== 'measured').sort());
  assert.deepEqual(metric, [...placed, 'measured'].sort());
  assert.deepEqual(stats, fields('Stats').always);
  const line = /metrics: \{(.*?)\} \| null/.exec(declared)[1];
  assert.deepEqual(metrics, [...line.matchAll(/(\w+):/g)].map((one) => one[1]).sort());
  const inner = /uploads: \{\n(.*?)\n {2}\} \| null/s.exec(declared)[1];
  assert.deepEqual(uploads, [...inner.matchAll(/^ {4}(\w+):/gm)].map((one) => one[1]).sort());
});

test('types are declared for a CommonJS module, as which all programs get the package', () => {
  const { exports, types, files } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'));
  assert.deepEqual(exports['.'], { types: './index.d.cts', default: './js/index.cjs' });
  assert.equal(types, './index.d.cts');
  for (const name of ['index.d.cts', 'settings.d.cts']) assert.ok(files.includes(name), name);
});

test('what is exported is what is declared', () => {
  const names = [...declared.matchAll(/^export (?:function|const) (\w+)/gm)].map((one) => one[1]).sort();
  assert.deepEqual(Object.keys(createRequire(import.meta.url)(index)).sort(), names);
});

test('every variable of the environment that is set counts, and what cannot be used is said', () => {
  const probes = `${apps}../probes.json`;
  const variables = {
    DD_DYNAMIC_INSTRUMENTATION_ENABLED: 'true',
    DD_DYNAMIC_INSTRUMENTATION_PROBE_FILE: probes,
    DD_DYNAMIC_INSTRUMENTATION_REDACTED_IDENTIFIERS: 'item',
    DD_DYNAMIC_INSTRUMENTATION_UPLOAD_INTERVAL_SECONDS: 'soon',
    DD_SERVICE: 'till',
    STROBE_NDJSON: '-',
  };
  const { stdout, stderr } = node(['--require', register, 'cart.cjs'], { variables });
  assert.deepEqual(events(stdout).map((event) => [event.service, event.message]), Array(3).fill(['till', 'adds {redacted}']));
  assert.match(stderr, /DD_DYNAMIC_INSTRUMENTATION_UPLOAD_INTERVAL_SECONDS: 'soon' is not/);
});
