// Nobody catches what is thrown in a line in which a function begins.
const price = (item) => item.price.value; function pay(items) { return items.map((item) => price(item)) }
const made = new Error('made'); const fail = (what) => {	throw what };
const ways = {
  now() { pay([{}]) }, later() { Promise.resolve([{}]).then(pay) }, text() { fail('a text') }, made() { fail(made) },
  rejected() { Promise.reject(made) },
  ends() { process.on('exit', (code) => { console.log(code, new Error('x').stack, process.sourceMapsEnabled) }); throw new TypeError('first') },
  frozen() { fail(Object.freeze(new Error('frozen'))) },
  vm() { require('node:vm').runInThisContext('const f = () => { throw new Error("in a script") };\n f()', { filename: __filename }) },
};
ways[process.argv[2] ?? 'now']();
