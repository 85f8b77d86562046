// A module of ES, twice.
await import('./top.mjs?v=1');
await import('./top.mjs?v=2');
