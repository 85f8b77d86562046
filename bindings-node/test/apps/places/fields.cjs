'use strict';
const rate = (cents) => cents / 100;
const shop = 'corner';
class Item {
  static made = [shop, this.name].join();
  #cents = 250;
  price = rate(this.#cents);
  label = `${shop}: ${this.price}`;
  show = () => {
    return this.label;
  };
  constant = 1;
}
const { made } = Item;
console.log(made, new Item().show());
