// The vectors of `tests/vectors` with real JavaScript values.
import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { runFiles } from './run-vectors.mjs';

const folder = fileURLToPath(new URL('../../tests/vectors/', import.meta.url));

test('every vector comes out as expected', () => {
    const files = readdirSync(folder).filter(name => name.endsWith('.json'));
    assert.ok(files.length > 5);
    const report = runFiles(files.map(name => folder + name));
    assert.deepEqual(report.failed, []);
    assert.ok(report.passed.length > 1000, `${report}`);
});

test('what is no vector file fails', () => {
    const report = runFiles([fileURLToPath(import.meta.url), '/nowhere.json']);
    assert.equal(report.failed.length, 2);
});
