// Greets everybody, more or less.

function greet(name, times) {
  const words = Array(times).fill(`hello ${name}`);
  return words.join(', ');
}

for (const [count, name] of process.argv.slice(2).entries()) {
  console.log(greet(name, count + 1));
}
