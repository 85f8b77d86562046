// Compiles files in the way that it is told, and prints what their functions answer.
const fs = require('node:fs');
const path = require('node:path');
const vm = require('node:vm');

const at = (name) => path.join(__dirname, name);
const [part, body] = ['part.js', 'body.js'].map((name) => fs.readFileSync(at(name), 'utf8'));
const filename = at('part.js');
const asked = ([over, count]) => [over(3), count(2)[0]];
const parameters = ['left', 'right'];

const ways = {
  here: () => asked(vm.runInThisContext(part, { filename })),
  script() {
    const script = new vm.Script(part, filename);
    return [script instanceof vm.Script, ...asked(script.runInThisContext())];
  },
  context() {
    const context = vm.createContext({});
    const [over, count] = vm.runInContext(part, context, { filename });
    const [, made] = count(1);
    const own = vm.runInContext('Object.prototype', context);
    return [over(3), Object.getPrototypeOf(made) === own, Object.getOwnPropertyNames(context)];
  },
  contexts() {
    const script = new vm.Script(part, { filename });
    return [1, 2].map(() => asked(script.runInContext(vm.createContext({}))));
  },
  fresh: () => asked(vm.runInNewContext(part, {}, filename)),
  body: () => vm.compileFunction(body, parameters, { filename: at('body.js') })(1, 2)(3),
  bodies: () => vm.compileFunction(body, parameters, { filename: at('body.js'), parsingContext: vm.createContext({}) })(1, 2)(3),
  async module() {
    const text = 'export const one = 1;\nexport function add(n) {\n  return n + one;\n}\n';
    const made = new vm.SourceTextModule(text, { identifier: at('virtual.mjs'), context: vm.createContext({}) });
    await made.link(() => {});
    await made.evaluate();
    return made.namespace.add(1);
  },
  cached() {
    const script = new vm.Script(part, { filename, produceCachedData: true });
    return [asked(script.runInThisContext()), script.cachedDataProduced];
  },
  failing() {
    const errors = [];
    for (const what of [() => new vm.Script('let = = 1', { filename }), () => vm.runInContext('1', {}, { filename }), () => vm.compileFunction('return 1', 1)]) {
      try {
        what();
      } catch (error) {
        errors.push(error.code ?? error.name);
      }
    }
    return errors;
  },
  async forgotten() {
    const script = part + `;\n'${'x'.repeat(1 << 20)}'`;
    for (let round = 0; round < 200; round += 1) {
      vm.runInContext(script, vm.createContext({}), { filename });
      if (round % 20 === 0) {
        globalThis.gc();
        await new Promise(setImmediate);
      }
    }
    return process.memoryUsage().rss < 400 << 20;
  },
};

(async () => console.log(JSON.stringify(await ways[process.argv[2]]())))();
