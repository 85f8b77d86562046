// Functions that are made while the one around them has a probe, and have probes themselves.
Error.stackTraceLimit = 50;
function make(name) { const label = `${name}!`; const twice = (x) => { const y = x + x; return fail(y) }; function fail(y) {
    throw new Error(label + y);
  }
  return function handler(x) {
    return twice(x + 1);
  };
}
const handler = make('a');
const show = () => { try { handler(1) } catch (error) { console.log(error.stack) } };
show();
async function* items() { const inner = async () => { await 0; return handler(2) }; yield await inner() }
(async () => { try { for await (const item of items()) console.log(item) } catch (error) { console.log(error.stack) } })();
