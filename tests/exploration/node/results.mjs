// What a run gave, and what two runs have in common.
import { work } from './programs.mjs';

/** Tests and how they ended, from output in the Test Anything Protocol: by name, the ends of all of that name. */
export function testsIn(output) {
  const tests = new Map();
  for (const line of output.split('\n')) {
    const [, end, name] = /^\s*(ok|not ok) \d+ ?-? ?(.*?)\s*$/.exec(line) ?? [];
    if (end === undefined) continue;
    const ends = tests.get(name) ?? [];
    tests.set(name, [...ends, end]);
  }
  return new Map([...tests].map(([name, ends]) => [name, ends.sort().join(', ')]));
}

/** What differs from run to run with any program. */
const vague = [
  [/\u001b\[[\d;]*m/g, ''],
  [/\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z?/g, 'TIME'],
  [/(127\.0\.0\.1|localhost|::1\]?):\d+/g, '$1:PORT'],
  [/(port:? )\d{4,5}/gi, '$1PORT'],
  [/(duration_ms:? |"time": ?|"pid": ?|\(node:|reqId":"|"responseTime": ?)[\d.]+/g, '$1N'],
  [/\b\d+(\.\d+)? ?(ms|s|seconds|milliseconds)\b/g, 'N $2'],
  [/\/tmp\/[\w./-]+/g, '/tmp/NAME'],
  [/Please wait[. ]*[\b]*/g, ''],
];

/** Frames of a module that is being loaded: on Node 20 our hook is one of them, and the outermost of ten falls off. */
const loading = /^#?\s*at .*(?:node:internal\/modules\/|bindings-node\/js\/load\.cjs)/;

/** The lines of an output, sorted, without what is never the same, and without where the programs are. */
export function linesIn(output) {
  const text = vague.reduce((left, [pattern, put]) => left.replace(pattern, put), output.replaceAll(work, ''));
  return text.split('\n').map((line) => line.trim()).filter((line) => line !== '' && !loading.test(line)).sort();
}

/** Lines that one has and the other has not, each as often as that. */
function without(lines, others) {
  const counts = new Map();
  for (const line of others) counts.set(line, (counts.get(line) ?? 0) + 1);
  return lines.filter((line) => {
    const left = counts.get(line) ?? 0;
    counts.set(line, left - 1);
    return left <= 0;
  });
}

/** What differs between two runs: tests, the end of the process, and lines of output. Where tests ended otherwise, an exit code
 *  and lines that differ say nothing new. */
export function differences(bare, other) {
  const found = [];
  for (const name of new Set([...bare.tests.keys(), ...other.tests.keys()])) {
    const ends = [bare.tests.get(name) ?? 'no result', other.tests.get(name) ?? 'no result'];
    if (ends[0] !== ends[1]) found.push({ what: 'test', name, bare: ends[0], other: ends[1] });
  }
  const isCode = (ended) => ended.startsWith('exit code');
  const isNews = found.length === 0 || !isCode(bare.ended) || !isCode(other.ended);
  if (bare.ended !== other.ended && isNews) found.push({ what: 'end', name: 'the whole process', bare: bare.ended, other: other.ended });
  if (found.length > 0) return found;
  for (const name of without(bare.lines, other.lines)) found.push({ what: 'line', name, bare: 'there', other: 'missing' });
  for (const name of without(other.lines, bare.lines)) found.push({ what: 'line', name, bare: 'missing', other: 'there' });
  return found;
}
