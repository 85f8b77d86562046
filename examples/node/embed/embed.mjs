// Probes without the command: the program starts the session itself, before it loads what the probes are for.
import { addProbe, flush, removeProbe, start, status, stop } from 'stroboscope';

start({ service: 'embed', terminal: 'always' });
const { area } = await import('./area.mjs');
const probe = addProbe({
  id: 'large',
  type: 'LOG_PROBE',
  where: { sourceFile: 'area.mjs', methodName: 'area' },
  when: { dsl: '@return > 10' },
  template: '{width} x {height} is large',
});
for (let side = 0; side < 6; side += 1) area(side, side);
await flush(1);
console.log(JSON.stringify(status(), null, 2));
removeProbe(probe);
await stop();
