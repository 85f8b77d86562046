#!/usr/bin/env node
// Packs what npm gets: `stroboscope`, which is the same everywhere, and the addon of one platform as a package of its own.
// usage: tools/package.mjs FOLDER [TARGET]
// TARGET is a name of Rust's, as aarch64-unknown-linux-musl; without it, that of this machine. PROFILE names a cargo profile;
// without it, `release`.
import { execFileSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

/** What npm knows each platform by. */
const platforms = {
  'aarch64-apple-darwin': { os: 'darwin', cpu: 'arm64' },
  'aarch64-unknown-linux-gnu': { os: 'linux', cpu: 'arm64', libc: 'glibc' },
  'aarch64-unknown-linux-musl': { os: 'linux', cpu: 'arm64', libc: 'musl' },
  'x86_64-apple-darwin': { os: 'darwin', cpu: 'x64' },
  'x86_64-unknown-linux-gnu': { os: 'linux', cpu: 'x64', libc: 'glibc' },
  'x86_64-unknown-linux-musl': { os: 'linux', cpu: 'x64', libc: 'musl' },
};

const root = fileURLToPath(new URL('..', import.meta.url));
const main = JSON.parse(readFileSync(path.join(root, 'package.json'), 'utf8'));

/** The name of a platform's package. */
function named({ os, cpu, libc }) {
  return [main.name, os, cpu, libc === 'glibc' ? 'gnu' : libc].filter(Boolean).join('-');
}

/** Packs a folder whose package.json is given; answers the file. */
function pack(folder, described, into) {
  writeFileSync(path.join(folder, 'package.json'), `${JSON.stringify(described, null, 2)}\n`);
  cpSync(path.join(root, '..', 'LICENSE'), path.join(folder, 'LICENSE'));
  const told = execFileSync('npm', ['pack', '--json', '--pack-destination', into], { cwd: folder, encoding: 'utf8' });
  return path.join(into, JSON.parse(told)[0].filename);
}

function packMain(folder, into) {
  const { scripts, ...described } = main;
  for (const name of [...main.files, 'README.md']) cpSync(path.join(root, name), path.join(folder, name), { recursive: true });
  const addons = Object.values(platforms).map((platform) => [named(platform), main.version]);
  return pack(folder, { ...described, optionalDependencies: Object.fromEntries(addons) }, into);
}

function packAddon(folder, target, into) {
  const { os, cpu, libc } = platforms[target];
  const name = named(platforms[target]);
  const env = { ...process.env, PROFILE: process.env.PROFILE ?? 'release', INTO: folder };
  // Named, it would be built apart from what is there.
  if (target !== here) env.TARGET = target;
  execFileSync(path.join(root, 'tools', 'addon.sh'), { env, stdio: 'inherit' });
  writeFileSync(path.join(folder, 'README.md'), `# ${name}\n\nThe addon of [stroboscope](https://www.npmjs.com/package/stroboscope).\n`);
  const described = {
    name,
    version: main.version,
    description: `The addon of stroboscope for ${os} ${cpu}${libc ? ` (${libc})` : ''}`,
    license: main.license,
    repository: main.repository,
    engines: main.engines,
    os: [os],
    cpu: [cpu],
    ...(libc && { libc: [libc] }),
    main: 'stroboscope.node',
    files: ['stroboscope.node'],
  };
  return pack(folder, described, into);
}

function thisMachine() {
  return /^host: (.+)$/m.exec(execFileSync('rustc', ['-vV'], { encoding: 'utf8' }))[1];
}

const here = thisMachine();
const [out, target = here] = process.argv.slice(2);
if (out === undefined || platforms[target] === undefined) {
  const known = Object.keys(platforms).join(', ');
  process.stderr.write(`usage: tools/package.mjs FOLDER [TARGET], where TARGET is one of ${known}; got ${target}\n`);
  process.exit(2);
}
const into = path.resolve(out);
mkdirSync(into, { recursive: true });
const work = mkdtempSync(path.join(tmpdir(), 'stroboscope-package-'));
try {
  for (const make of [packMain, packAddon]) {
    const folder = path.join(work, make.name);
    mkdirSync(folder);
    const file = make === packMain ? packMain(folder, into) : packAddon(folder, target, into);
    process.stdout.write(`${file}\n`);
  }
} finally {
  rmSync(work, { recursive: true });
}
