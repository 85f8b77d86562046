// Probes for every function of a program: on its lines, ten to a probe, and on the function itself. What is a function and what
// a line is asked of the rewriter (`cargo run -p stroboscope-rewriter --example rewrite`).
import { execFileSync } from 'node:child_process';
import path from 'node:path';
import { root } from './programs.mjs';

const LINES = 10;

/** By turns a snapshot, a message and a condition, at low rates: each goes off and on again all the time. */
const lineProbes = [
  { template: 'seen', captureSnapshot: true },
  { template: 'this is {this}', sampling: { snapshotsPerSecond: 5 } },
  { template: 'it held', when: { dsl: 'isDefined(this) && len(this.name) > 3 || isDefined(value)' }, sampling: { snapshotsPerSecond: 2 } },
];
const methodProbes = [
  { template: 'ended', captureSnapshot: true },
  { template: '{@return} in {@duration}', sampling: { snapshotsPerSecond: 5 } },
  { template: 'both ends', captureSnapshot: true, evaluateAt: 'ENTRY', sampling: { snapshotsPerSecond: 5 } },
  { template: 'it held', when: { dsl: 'isDefined(@exception) || @duration > 1' }, sampling: { snapshotsPerSecond: 2 } },
];

/** The functions of a file that can have probes: names and lines. */
function functionsOf(file) {
  const tool = path.join(root, 'target/ci/examples/rewrite');
  for (const kind of file.endsWith('.mjs') ? ['esm'] : ['commonjs', 'esm']) {
    try {
      const options = { maxBuffer: 1 << 30, stdio: ['ignore', 'pipe', 'ignore'] };
      return JSON.parse(execFileSync(tool, [kind, '$probes', 'none', file], options)).functions;
    } catch (error) {
      if (error.code === 'ENOENT') throw error;
    }
  }
  throw new Error(`${file} cannot be read: what takes probes has to be JavaScript`);
}

/** Builds what tells the functions of a file. */
export function build() {
  const command = ['build', '--quiet', '--profile', 'ci', '--package', 'stroboscope-rewriter', '--example', 'rewrite'];
  console.log(`+ cargo ${command.join(' ')}`);
  execFileSync('cargo', command, { cwd: root, stdio: 'inherit' });
}

/** Probes on one function in `every` of some files. */
export function probesOf(files, every = 1) {
  const probes = [];
  const add = (kinds, where) => {
    const number = probes.length;
    probes.push({ id: `${path.basename(where.sourceFile)}-${number}`, version: 1, type: 'LOG_PROBE', where, ...kinds[number % kinds.length] });
  };
  for (const file of files) {
    const all = functionsOf(file);
    const functions = all.filter((one, at) => one.whyNot === null && at % every === 0);
    const lines = [...new Set(functions.flatMap((one) => one.lines))].sort((one, other) => one - other);
    for (let at = 0; at < lines.length; at += LINES) {
      add(lineProbes, { sourceFile: file, lines: lines.slice(at, at + LINES).map(String) });
    }
    const names = all.map((one) => one.qualified);
    for (const name of functions.map((one) => one.qualified)) {
      if (name && names.indexOf(name) === names.lastIndexOf(name)) add(methodProbes, { sourceFile: file, methodName: name });
    }
  }
  return probes;
}
