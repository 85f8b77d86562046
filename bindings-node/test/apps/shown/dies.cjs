// Nobody catches what is thrown in a line in which a function begins.
const price = (item) => item.price.value; function pay(items) { return items.map((item) => price(item)) }
if (process.argv[2] === 'later') Promise.resolve([{}]).then(pay);
else pay([{}]);
