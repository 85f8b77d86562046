// The same in hooks of newer Nodes, for modules of both kinds.
import { registerHooks } from 'node:module';

registerHooks({
  load(url, context, nextLoad) {
    const result = nextLoad(url, context);
    if (!/\/macro\.\w+$/.test(url)) return result;
    return { ...result, source: String(result.source).replace('MACRO', '100') };
  },
});
