'use strict';

class Cart {
  constructor() {
    this.items = [];
  }

  add(item) {
    const count = this.items.length;
    this.items.push(item);
    return count + 1;
  }
}

const cart = new Cart();
for (const name of ['tea', 'milk', 'bread']) {
  cart.add({ name, price: name.length });
}
console.log(`${cart.items.length} items`);
process.exitCode = 3;
