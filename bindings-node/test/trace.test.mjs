// Events say which span they belong to.
import assert from 'node:assert/strict';
import test from 'node:test';
import { bin, events, node } from './processes.mjs';

test('an event has the ids of the active span of OpenTelemetry, and nothing of the tracer runs', () => {
  const { stdout, stderr } = node([bin, 'run', '--json', '-', '--at', 'work.cjs:4', '--log', '{n}', '--', 'traced.cjs']);
  const found = events(stdout);
  assert.deepEqual(found.map((event) => event.message), ['0', '1', '2', '3', '4', '5', '6'], stderr);
  assert.deepEqual(found.map((event) => event.dd), [
    undefined,
    { trace_id: '0af7651916cd43dd8448eb211c80319c', span_id: '13235353014750950193' },
    { trace_id: '255', span_id: '9223372036854775808' },
    undefined,
    undefined,
    undefined,
    undefined,
  ]);
  assert.ok(stdout.split('\n').includes('[]'), stdout);
});
