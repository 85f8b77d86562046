'use strict';

function pay(amount) {
  if (amount > 10) {
    throw new RangeError(`too much: ${amount}`);
  }
  return 'paid';
}

pay(3);
pay(30);
