// The probe definitions, one file for both sides: one function of `targets.cjs`, one probe. After: `run.mjs` writes them to a
// file, which each side reads itself.
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const lifted = { sampling: { snapshotsPerSecond: 1_000_000 } };
// One token in a quarter of an hour: what is measured is the hit that finds none.
const limited = { sampling: { snapshotsPerSecond: 0.001 } };
const log = {
  captureSnapshot: false,
  template: 'x={x} name={name}',
  segments: [{ str: 'x=' }, { dsl: 'x', json: { ref: 'x' } }, { str: ' name=' }, { dsl: 'name', json: { ref: 'name' } }],
};
const fixed = { captureSnapshot: false, template: 'hit', segments: [{ str: 'hit' }] };
const snapshot = { captureSnapshot: true, template: 'hit', segments: [{ str: 'hit' }] };
const whole = { capture: { maxReferenceDepth: 4, maxCollectionSize: 100, maxFieldCount: 20, maxLength: 255 } };
const never = { when: { dsl: 'i < 0', json: { lt: [{ ref: 'i' }, 0] } } };
const metric = { type: 'METRIC_PROBE', kind: 'HISTOGRAM', metricName: 'bench', value: { dsl: 'i', json: { ref: 'i' } } };
const slow = { when: { dsl: '@duration > 100000', json: { gt: [{ ref: '@duration' }, 100_000] } } };

/** The line behind which a marker stands. */
function lineOf(file, name) {
  const lines = readFileSync(new URL(file, import.meta.url), 'utf8').split('\n');
  return lines.findIndex((line) => line.endsWith(`// probe: ${name}`)) + 1;
}

const probe = (id, where, ...parts) =>
  Object.assign({ id, version: 1, type: 'LOG_PROBE', language: 'javascript', tags: [], where }, ...parts);

/** A probe on the marked line of a file of this folder. */
export function atLine(name, file, ...parts) {
  const path = fileURLToPath(new URL(file, import.meta.url));
  return probe(name, { sourceFile: path, lines: [String(lineOf(file, name))] }, ...(parts.length > 0 ? parts : [fixed]));
}

const inTarget = (name, ...parts) => atLine(name, 'targets.cjs', ...parts);
const method = (name, ...parts) =>
  probe(name, { sourceFile: fileURLToPath(new URL('targets.cjs', import.meta.url)), methodName: name }, ...parts);

/** The probes of the rows; the peer has none on methods. */
export function lines() {
  return [
    inTarget('conditionFalse', fixed, never),
    inTarget('limited', snapshot, limited),
    inTarget('log', log, lifted),
    inTarget('small', snapshot, lifted),
    inTarget('medium', snapshot, lifted, whole),
    inTarget('large', snapshot, lifted, whole),
  ];
}

/** Those that only a debugger can watch for. */
export function watched() {
  return [
    inTarget('watchedFalse', fixed, never),
    inTarget('watchedLog', log, lifted),
    inTarget('watchedSmall', snapshot, lifted),
  ];
}

export function methods() {
  return [
    method('methodLimited', snapshot, limited, { evaluateAt: 'EXIT' }),
    method('methodDuration', fixed, slow, { evaluateAt: 'EXIT' }),
    inTarget('metricLine', metric),
    method('metricMethod', metric, { evaluateAt: 'EXIT' }),
  ];
}
