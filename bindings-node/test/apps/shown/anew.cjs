// Deletes what formats stacks, and defines it anew.
const where = () => { const places = () => new Error('x').stack; return places().split('\n').slice(0, 2).join('|') }; const load = () => { for (const file of ['./nothing.cjs', './nothing.cjs']) { delete require.cache[require.resolve(file)]; require(file) } };
console.log(delete Error.prepareStackTrace, Object.hasOwn(Error, 'prepareStackTrace'));
load();
console.log(where(), Error.prepareStackTrace);
Object.defineProperty(Error, 'prepareStackTrace', { value: (_, sites) => `mine\n${sites[0]}`, writable: true, configurable: true });
const mine = Error.prepareStackTrace;
load();
console.log(where(), Error.prepareStackTrace === mine);
Object.defineProperty(Error, 'prepareStackTrace', { get() { console.log('asked'); return undefined }, configurable: true });
load();
console.log(where().split('|')[0]);
