// Stacks of a program that is compiled: ../README.md says how.
interface Item { name: string; price: number }

export class Till {
  private items: Item[] = [];
  constructor(readonly owner: string) {
    if (owner === '') throw new RangeError('nobody');
  }
  add(item: Item): this { if (item.price < 0) throw new TypeError(`below zero: ${item.name}`); this.items.push(item); return this; }
  get total(): number { return this.items.map((item) => check(item)).reduce((a, b) => a + b, 0); }
}

const check = (item: Item): number => {
  if (item.name === 'bad') { throw new Error('bad item'); }
  return item.price;
};

async function later(): Promise<number> { await null; const till = new Till('x'); return till.add({ name: 'bad', price: 1 }).total; }

const tries: (() => unknown)[] = [() => new Till(''), () => new Till('a').add({ name: 'n', price: -1 }), () => new Till('a').add({ name: 'bad', price: 1 }).total];
for (const one of tries) {
  try { one(); } catch (error) { console.log((error as Error).stack); }
}
later().catch((error: Error) => console.log(error.stack));
