const module = await import(`./${process.env.MACRO_FILE}`);
setTimeout(() => {}, Number(process.env.LINGER ?? 0));
console.log((module.add ?? module.default.add)(1));
