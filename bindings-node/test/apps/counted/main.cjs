const { price } = require('./price.cjs');
console.log(price({ price: 3 }));
import('./price.mjs').then(({ names, price }) => console.log(names([{ name: 'tea' }]), price({ price: 4 })));
