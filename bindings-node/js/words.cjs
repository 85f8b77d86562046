// What Node refuses us, in words: what to do about it.
'use strict';

/** What has to be said to Node's permission model for each permission. */
const options = {
  __proto__: null,
  FileSystemRead: '--allow-fs-read',
  FileSystemWrite: '--allow-fs-write',
  WorkerThreads: '--allow-worker',
  ChildProcess: '--allow-child-process',
  Inspector: '--allow-inspector',
};

/**
 * An error of Node's in words.
 * @param {Error & { code?: string, permission?: string, resource?: string }} error
 * @returns {string}
 */
function inWords(error) {
  if (error.code !== 'ERR_ACCESS_DENIED') return error.message;
  const what = error.resource ? `${error.permission} of ${error.resource}` : error.permission;
  return `Node's permission model denies ${what}; start Node with ${options[error.permission] ?? 'what allows it'}`;
}

module.exports = { inWords };
