'use strict';

// Spans as OpenTelemetry's API and its context manager keep them, with whatever runs code of the program made to say so.
const { AsyncLocalStorage } = require('node:async_hooks');
const { work } = require('./work.cjs');

const called = [];
const noisy = (object) => {
  for (const name of ['spanContext', 'active', 'getValue', 'isRecording']) object[name] = () => called.push(name);
  return object;
};
const storage = new AsyncLocalStorage();
const api = { version: '1.9.0', context: noisy({ _asyncLocalStorage: storage }) };
globalThis[Symbol.for('opentelemetry.js.api.1')] = api;

const key = Symbol.for('OpenTelemetry Context Key SPAN');
const inside = (span, then) => storage.run(noisy({ _currentContext: new Map([[key, span]]) }), then);
const withIds = (traceId, spanId) => noisy({ _spanContext: { traceId, spanId, traceFlags: 1 } });

work(0);
inside(withIds('0af7651916cd43dd8448eb211c80319c', 'b7ad6b7169203331'), async () => {
  await null;
  work(1);
  inside(withIds('000000000000000000000000000000ff', '8000000000000000'), () => work(2));
  inside(withIds('0'.repeat(32), '0'.repeat(16)), () => work(3));
  inside(withIds('not an id', 7), () => work(4));
  inside(new Proxy({}, { getOwnPropertyDescriptor: () => called.push('trap'), get: () => called.push('trap') }), () => work(5));
  inside({ get _spanContext() { return called.push('getter'); } }, () => work(6));
  console.log(JSON.stringify(called));
});
