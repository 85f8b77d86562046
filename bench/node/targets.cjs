// The functions under test: NAME gets the probe, its twin NAME_ never has one. `definitions.mjs` looks the markers up, so that
// lines may move freely; `worker.cjs` calls them.
'use strict';

class Item {
  constructor(i) {
    this.id = i;
    this.sku = `SKU-${i}`;
    this.qty = i % 7;
    this.price = i * 1.25;
    this.tags = ['a', 'b', 'c'];
    this.meta = { color: 'red', weight: i * 3, ok: true };
  }
}

/** About 200 nodes to a depth of four. */
function order() {
  return {
    method: 'POST',
    url: '/api/v1/orders?x=1',
    headers: { host: 'example.com', accept: '*/*', 'user-agent': 'bench', 'content-length': '123' },
    items: Array.from({ length: 16 }, (_, i) => new Item(i)),
  };
}

/** About 1,000 nodes to a depth of four. */
function orders() {
  return Array.from({ length: 80 }, (_, i) => new Item(i));
}

function conditionFalse(i, user) {
  const acc = (i ^ user.id) & 255;
  return acc + 1; // probe: conditionFalse
}

function conditionFalse_(i, user) {
  const acc = (i ^ user.id) & 255;
  return acc + 1;
}

function limited(i, user) {
  const acc = (i ^ user.id) & 255;
  return acc + 1; // probe: limited
}

function limited_(i, user) {
  const acc = (i ^ user.id) & 255;
  return acc + 1;
}

function log(i, name) {
  const x = i * 2;
  return x + name.length; // probe: log
}

function log_(i, name) {
  const x = i * 2;
  return x + name.length;
}

function small(i) {
  const [a, b, c, d] = [i, i * 1.5, `user-${i}`, null];
  return a + b + c.length + (d === null ? 1 : 0); // probe: small
}

function small_(i) {
  const [a, b, c, d] = [i, i * 1.5, `user-${i}`, null];
  return a + b + c.length + (d === null ? 1 : 0);
}

function medium(i, request) {
  const total = request.items.length + i;
  return total + request.url.length; // probe: medium
}

function medium_(i, request) {
  const total = request.items.length + i;
  return total + request.url.length;
}

function large(i, list) {
  const total = list.length + i;
  return total; // probe: large
}

function large_(i, list) {
  const total = list.length + i;
  return total;
}

// Probed as methods, from entry to exit.

function methodLimited(i, user) {
  return ((i ^ user.id) & 255) + 1;
}

function methodLimited_(i, user) {
  return ((i ^ user.id) & 255) + 1;
}

function methodDuration(i, user) {
  return ((i ^ user.id) & 255) + 1;
}

function methodDuration_(i, user) {
  return ((i ^ user.id) & 255) + 1;
}

// Probed by metrics.

function metricLine(i, user) {
  const acc = (i ^ user.id) & 255;
  return acc + 1; // probe: metricLine
}

function metricLine_(i, user) {
  const acc = (i ^ user.id) & 255;
  return acc + 1;
}

function metricMethod(i, user) {
  return ((i ^ user.id) & 255) + 1;
}

function metricMethod_(i, user) {
  return ((i ^ user.id) & 255) + 1;
}

// Functions that only a debugger can watch, since they name arguments.callee; they ask for it with no argument that they are given.

function watchedFalse(i, user) {
  const acc = (i ^ user.id) & 255;
  if (user === null) return arguments.callee;
  return acc + 1; // probe: watchedFalse
}

function watchedFalse_(i, user) {
  const acc = (i ^ user.id) & 255;
  if (user === null) return arguments.callee;
  return acc + 1;
}

function watchedLog(i, name) {
  const x = i * 2;
  if (name === null) return arguments.callee;
  return x + name.length; // probe: watchedLog
}

function watchedLog_(i, name) {
  const x = i * 2;
  if (name === null) return arguments.callee;
  return x + name.length;
}

function watchedSmall(i) {
  const [a, b, c, d] = [i, i * 1.5, `user-${i}`, null];
  if (i === null) return arguments.callee;
  return a + b + c.length + (d === null ? 1 : 0); // probe: watchedSmall
}

function watchedSmall_(i) {
  const [a, b, c, d] = [i, i * 1.5, `user-${i}`, null];
  if (i === null) return arguments.callee;
  return a + b + c.length + (d === null ? 1 : 0);
}

/** Another function of the same module, which nobody probes. */
function never(i) {
  return i + 1; // probe: never
}

const user = { id: 7, name: 'bob' };
const [request, list] = [order(), orders()];

/** Each pair with its second argument. */
const targets = {
  conditionFalse: [conditionFalse, conditionFalse_, user],
  limited: [limited, limited_, user],
  log: [log, log_, 'bob'],
  small: [small, small_, undefined],
  medium: [medium, medium_, request],
  large: [large, large_, list],
  methodLimited: [methodLimited, methodLimited_, user],
  methodDuration: [methodDuration, methodDuration_, user],
  metricLine: [metricLine, metricLine_, user],
  metricMethod: [metricMethod, metricMethod_, user],
  watchedFalse: [watchedFalse, watchedFalse_, user],
  watchedLog: [watchedLog, watchedLog_, 'bob'],
  watchedSmall: [watchedSmall, watchedSmall_, undefined],
};

module.exports = { targets, never };
