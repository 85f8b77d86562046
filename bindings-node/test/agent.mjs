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
const configPath = '/v0.7/config';
const statusesPath = '/debugger/v1/diagnostics';

const secondsToWait = 60;

/** Waits for it to be true. Tests wait for what happens, never for a time. */
export async function until(found, what = () => '') {
  const end = Date.now() + secondsToWait * 1000;
  for (;;) {
    const answer = await found();
    if (answer) return answer;
    if (Date.now() > end) throw new Error(`it never happened: ${JSON.stringify(await what())}`);
    await sleep(20);
  }
}

export const scriptFile = (name) => path.join(home, 'scripts', `${name}.json`);

class Agent {
  constructor(folder, words) {
    this.folder = folder;
    this.words = words;
    this.socket = path.join(folder, 'agent.sock');
    this.ports = path.join(folder, 'ports');
  }

  async start() {
    rmSync(this.ports, { force: true });
    const stdio = ['ignore', 'inherit', 'inherit'];
    this.process = spawn('python3', [path.join(home, 'agent.py'), ...this.words], { env: cleanEnvironment(), stdio });
    while (!existsSync(this.ports)) {
      if (this.process.exitCode !== null) throw new Error('the Agent did not start');
      await sleep(10);
    }
    this.port = JSON.parse(readFileSync(this.ports, 'utf8')).http;
    this.requests = [];
  }

  /** Starts it where it was, after an `end`. */
  async again() {
    this.words.push('--port', String(this.port));
    await this.start();
  }

  get url() {
    return `http://127.0.0.1:${this.port}`;
  }

  async ask(target, body) {
    const options = body === undefined ? {} : { method: 'POST', body: JSON.stringify(body) };
    const answer = await fetch(this.url + target, options);
    const found = await answer.json();
    if (!answer.ok) throw new Error(JSON.stringify(found));
    return found;
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

  async end() {
    const ended = once(this.process, 'close');
    this.process.kill();
    await ended;
  }

  async stop() {
    await this.end();
    rmSync(this.folder, { recursive: true });
  }

  // Remote configuration.

  /** Puts files by their paths beside those that are offered; null takes one away. */
  offer(files, more = {}) {
    return this.ask('/_remote', { offer: files, ...more });
  }

  /** How polls are answered from now on; the last for ever. */
  answers(...behaviours) {
    return this.ask('/_paths', { [configPath]: behaviours });
  }

  /** The polls so far, as soon as there are so many. */
  async polls(count = 0, chosen = {}) {
    const polls = await this.ask(`/_polls?${new URLSearchParams({ ...chosen, count, wait: secondsToWait })}`);
    if (polls.length < count) throw new Error(`only ${polls.length} polls of ${count}`);
    return polls;
  }

  /** The polls that begin after now, as soon as there are so many. */
  async morePolls(more = 2) {
    const before = (await this.polls()).length;
    return (await this.polls(before + more)).slice(before);
  }

  /** The clients that hold what they are to hold now, as soon as there are so many and all is acknowledged. */
  settled(count = 1, chosen = {}) {
    const about = () => this.ask('/_remote');
    return until(async () => {
      const clients = await this.ask(`/_settled?${new URLSearchParams({ ...chosen, count, wait: secondsToWait })}`);
      const done = clients.filter((client) => !Object.values(states(client)).includes(1));
      return done.length >= count && done;
    }, about);
  }

  /** What no client of ours may do. */
  async problems() {
    return (await this.ask('/_remote')).problems;
  }

  /** Tag and number of each event, as the probes of `log` write them; each request is asked for once. */
  async said() {
    return (await this.sent()).map(({ event }) => event.message.split(' ')).map(([tag, x]) => [tag, Number(x)]);
  }

  /** Each event with the runtime id under which it came. */
  async sent() {
    this.requests.push(...(await this.ask(`/_requests?since=${this.requests.length}`)));
    const whole = this.requests.filter((request) => request.path === eventsPath && request.complete);
    return whole.flatMap(({ tags, body }) => {
      const runtime = /(?:^|,)runtime_id:([^,]+)/.exec(tags)[1];
      return JSON.parse(body).map((event) => ({ runtime, event }));
    });
  }
}

/** The last word of a client on each file that it holds. */
export const states = (client) =>
  Object.fromEntries((client.state.config_states ?? []).map((one) => [one.id, one.apply_state]));

export const at = (name, product = 'LIVE_DEBUGGING') => `datadog/2/${product}/logProbe_${name}/config`;

/** Starts an Agent for a test; `script` is a name in `tests/agent/scripts`, or a script. */
export async function agent(context, script = 'well') {
  const folder = mkdtempSync(path.join(tmpdir(), 'agent-'));
  const own = path.join(folder, 'script.json');
  if (typeof script === 'object') writeFileSync(own, JSON.stringify(script));
  const words = ['--script', typeof script === 'object' ? own : scriptFile(script)];
  words.push('--port-file', path.join(folder, 'ports'), '--unix', path.join(folder, 'agent.sock'));
  words.push('--state', path.join(folder, 'state'));
  const here = new Agent(folder, words);
  await here.start();
  context.after(() => here.stop());
  return here;
}
