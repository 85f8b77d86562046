// A stand-in for the Agent on the loopback, in the driver: it takes everything, and notes which probes the peer has installed
// and how many events of each have come.
import { createServer } from 'node:http';

const endpoints = ['/v0.4/traces', '/v0.7/config', '/telemetry/proxy/', '/debugger/v1/input', '/debugger/v2/input', '/debugger/v1/diagnostics'];
const info = JSON.stringify({ version: '7.60.0', endpoints, client_drop_p0s: true });

export class Agent {
  /** By the service that the process goes by: the ids of probes that are installed, errors, and the events by probe. */
  #installed = new Map();
  #events = new Map();
  #last = new Map();
  #server = createServer((request, response) => this.#answer(request, response));

  async listen() {
    await new Promise((resolve) => this.#server.listen(0, '127.0.0.1', resolve));
    return `http://127.0.0.1:${this.#server.address().port}`;
  }

  installed(service) {
    return this.#installed.get(service) ?? new Set();
  }

  events(service, probe) {
    return this.#events.get(`${service} ${probe}`) ?? 0;
  }

  /** The text of the last event of a probe. */
  last(service, probe) {
    return this.#last.get(`${service} ${probe}`);
  }

  close() {
    this.#server.close();
    this.#server.closeAllConnections();
  }

  async #answer(request, response) {
    const chunks = [];
    try {
      for await (const chunk of request) chunks.push(chunk);
    } catch {
      return; // the process has ended in the middle of it
    }
    const text = Buffer.concat(chunks).toString();
    if (request.url.startsWith('/debugger')) this.#note(text);
    response.setHeader('content-type', 'application/json');
    response.end(request.url === '/info' ? info : '{}');
  }

  #note(text) {
    // Statuses come as a part of a form or as JSON, events as JSON.
    const array = text.slice(text.indexOf('['), text.lastIndexOf(']') + 1);
    let entries;
    try {
      entries = JSON.parse(array);
    } catch {
      return; // it is something else
    }
    for (const entry of entries) {
      const status = entry.debugger?.diagnostics;
      if (status?.status === 'ERROR') console.error(`the peer refuses ${status.probeId}: ${JSON.stringify(status.exception)}`);
      if (status?.status === 'INSTALLED') this.#installed.set(entry.service, this.installed(entry.service).add(status.probeId));
      const probe = entry.debugger?.snapshot?.probe?.id;
      if (probe === undefined) continue;
      this.#events.set(`${entry.service} ${probe}`, this.events(entry.service, probe) + 1);
      this.#last.set(`${entry.service} ${probe}`, JSON.stringify(entry));
    }
  }
}
