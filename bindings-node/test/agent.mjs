// The stand-in Agent of `tests/agent`, over real sockets.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { cleanEnvironment } from './processes.mjs';

const home = fileURLToPath(new URL('../../tests/agent/', import.meta.url));
export const eventsPath = '/debugger/v2/input';
const statusesPath = '/debugger/v1/diagnostics';

export const scriptFile = (name) => path.join(home, 'scripts', `${name}.json`);

class Agent {
  constructor(folder, process) {
    this.folder = folder;
    this.process = process;
    this.socket = path.join(folder, 'agent.sock');
    this.ports = path.join(folder, 'ports');
  }

  get url() {
    return `http://127.0.0.1:${JSON.parse(readFileSync(this.ports, 'utf8')).http}`;
  }

  async ask(target) {
    return (await fetch(this.url + target)).json();
  }

  /** The events that arrived whole. */
  async events() {
    const requests = await this.ask(`/_requests?path=${eventsPath}`);
    return requests.filter((request) => request.complete).flatMap((request) => JSON.parse(request.body));
  }

  async messages() {
    return (await this.events()).map((event) => event.message);
  }

  async statuses() {
    const found = (await this.ask(`/_requests?path=${statusesPath}`)).flatMap(({ body, headers }) => {
      if (!headers['content-type'].startsWith('multipart/')) return JSON.parse(body);
      return JSON.parse(body.slice(body.indexOf('\r\n\r\n') + 4, body.lastIndexOf('\r\n--')));
    });
    return found.map((status) => status.debugger.diagnostics);
  }

  async stop() {
    const ended = once(this.process, 'close');
    this.process.kill();
    await ended;
    rmSync(this.folder, { recursive: true });
  }
}

/** Starts an Agent for a test; `script` is a name in `tests/agent/scripts`, or a script. */
export async function agent(context, script = 'well') {
  const folder = mkdtempSync(path.join(tmpdir(), 'agent-'));
  const own = path.join(folder, 'script.json');
  if (typeof script === 'object') writeFileSync(own, JSON.stringify(script));
  const words = ['--script', typeof script === 'object' ? own : scriptFile(script)];
  words.push('--port-file', path.join(folder, 'ports'), '--unix', path.join(folder, 'agent.sock'));
  const process = spawn('python3', [path.join(home, 'agent.py'), ...words], { env: cleanEnvironment(), stdio: ['ignore', 'inherit', 'inherit'] });
  const here = new Agent(folder, process);
  context.after(() => here.stop());
  while (!existsSync(here.ports)) {
    if (process.exitCode !== null) throw new Error('the Agent did not start');
    await sleep(10);
  }
  return here;
}
