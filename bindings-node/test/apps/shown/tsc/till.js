"use strict";
Object.defineProperty(exports, "__esModule", { value: true });
exports.Till = void 0;
class Till {
    owner;
    items = [];
    constructor(owner) {
        this.owner = owner;
        if (owner === '')
            throw new RangeError('nobody');
    }
    add(item) { if (item.price < 0)
        throw new TypeError(`below zero: ${item.name}`); this.items.push(item); return this; }
    get total() { return this.items.map((item) => check(item)).reduce((a, b) => a + b, 0); }
}
exports.Till = Till;
const check = (item) => {
    if (item.name === 'bad') {
        throw new Error('bad item');
    }
    return item.price;
};
async function later() { await null; const till = new Till('x'); return till.add({ name: 'bad', price: 1 }).total; }
const tries = [() => new Till(''), () => new Till('a').add({ name: 'n', price: -1 }), () => new Till('a').add({ name: 'bad', price: 1 }).total];
for (const one of tries) {
    try {
        one();
    }
    catch (error) {
        console.log(error.stack);
    }
}
later().catch((error) => console.log(error.stack));
//# sourceMappingURL=till.js.map