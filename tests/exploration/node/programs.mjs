// Gets the programs and what their tests need, all of it pinned, into target/exploration/node; nothing is asked for twice.
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const here = fileURLToPath(new URL('.', import.meta.url));
export const root = path.resolve(here, '../../..');
export const work = path.join(root, 'target/exploration/node');

/** Installs what the lock file names, unless that has been done. */
export function install() {
  fs.mkdirSync(work, { recursive: true });
  const files = ['package.json', 'package-lock.json'];
  const installed = path.join(work, 'node_modules/.package-lock.json');
  const same = (file) => fs.existsSync(path.join(work, file)) && fs.readFileSync(path.join(work, file)).equals(fs.readFileSync(path.join(here, file)));
  if (fs.existsSync(installed) && files.every(same)) return;
  fs.rmSync(path.join(work, 'programs'), { recursive: true, force: true });
  fs.rmSync(installed, { force: true });
  for (const file of files) fs.copyFileSync(path.join(here, file), path.join(work, file));
  const command = ['ci', '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error'];
  console.log(`+ npm ${command.join(' ')}`);
  execFileSync('npm', command, { cwd: work, stdio: 'inherit' });
}

/** The folder of a program, with its tests in it. */
export async function folderOf(suite) {
  const folder = path.join(work, 'programs', suite.name);
  if (fs.existsSync(folder)) return folder;
  // Made aside: a half one is none.
  const made = path.join(work, 'programs', `.${suite.name}.${process.pid}`);
  fs.mkdirSync(made, { recursive: true });
  if (suite.npm) fs.cpSync(path.join(work, 'node_modules', suite.npm), made, { recursive: true });
  else await unpack(suite.source, made);
  fs.renameSync(made, folder);
  return folder;
}

async function unpack({ url, sha256, with: parts = {} }, folder) {
  const archive = path.join(work, decodeURIComponent(path.posix.basename(url)));
  if (!fs.existsSync(archive)) fs.writeFileSync(archive, await download(url));
  const found = createHash('sha256').update(fs.readFileSync(archive)).digest('hex');
  if (found !== sha256) throw new Error(`${archive} has the checksum ${found} in place of ${sha256}: remove it, and try again`);
  execFileSync('tar', ['-xf', archive, '-C', folder, '--strip-components=1']);
  for (const [to, from] of Object.entries(parts)) {
    fs.cpSync(path.join(work, 'node_modules', from), path.join(folder, to), { recursive: true });
  }
}

async function download(url) {
  console.log(`+ ${url}`);
  const answer = await fetch(url);
  if (!answer.ok) throw new Error(`${url} cannot be had: status ${answer.status}`);
  return Buffer.from(await answer.arrayBuffer());
}

/** The files of a folder that patterns mean: `*` is any part of a name. */
export function matching(folder, patterns) {
  const found = patterns.flatMap((pattern) => {
    const files = pattern.split('/').reduce((bases, part) => bases.flatMap((base) => named(folder, base, part)), ['']);
    if (files.length === 0) throw new Error(`nothing in ${folder} is like ${pattern}: suites.mjs is about another version`);
    return files;
  });
  return [...new Set(found)];
}

function named(folder, base, part) {
  if (!part.includes('*')) return fs.existsSync(path.join(folder, base, part)) ? [path.posix.join(base, part)] : [];
  const wanted = new RegExp(`^${part.split('*').map((text) => text.replace(/\W/g, '\\$&')).join('.*')}$`);
  const at = path.join(folder, base);
  if (!fs.statSync(at).isDirectory()) return [];
  return fs.readdirSync(at).filter((name) => wanted.test(name)).sort().map((name) => path.posix.join(base, name));
}
