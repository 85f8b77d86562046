// The same in a module of ES.
const price = (item) => item.price.value; const pay = (items) => items.map((item) => price(item)); const ways = { now() { pay([{}]) }, later() { setImmediate(pay, [{}]) } };
ways[process.argv[2] ?? 'now']();
