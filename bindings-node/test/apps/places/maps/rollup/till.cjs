'use strict';

let rate = 0.2;

const taxed = (net) => {
  const gross = net + net * rate;
  rate += 0.1;
  return gross;
};

/** Rings a sale up. */
function ring(price) {
  const net = price;

  return taxed(net);
}

const again = (price) => taxed(price);

console.log(ring(100), again(1));

exports.again = again;
exports.ring = ring;
//# sourceMappingURL=till.cjs.map
