// Formats stacks with source maps by itself, as packages do that are older than Node's own support.
const { findSourceMap } = require('node:module');
Error.prepareStackTrace = (error, sites) => [error, ...sites.map((site) => {
  const entry = findSourceMap(site.getFileName())?.findEntry(site.getLineNumber() - 1, site.getColumnNumber() - 1);
  return entry?.originalSource ? `${entry.originalSource}:${entry.originalLine + 1}:${entry.originalColumn + 1}` : `${site}`;
})].join('\n  ');
