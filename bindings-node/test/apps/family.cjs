// Starts itself several times, and reads what those processes say on both of their streams.
const { execFileSync, fork } = require('node:child_process');

function greet(name) {
  return `hello ${name}`;
}

if (process.argv[2]) {
  console.log(greet(process.argv[2]));
} else {
  for (const name of ['Ann', 'Bob']) {
    const heard = execFileSync('sh', ['-c', '"$0" "$1" "$2" 2>&1', process.execPath, __filename, name], { encoding: 'utf8' });
    process.stdout.write(heard);
  }
  fork(__filename, ['Cid']).on('exit', () => console.log(greet('Dan')));
}
