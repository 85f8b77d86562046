'use strict';

class Card {
  pay(amount) {
    const paid = [amount].map((one) => one + 1);
    return paid[0];
  }
}

function open(amount) {
  return amount;
}

module.exports = { Card, open };
