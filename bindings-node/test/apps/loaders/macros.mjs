import { readFileSync } from 'node:fs';

export async function load(url, context, nextLoad) {
  const result = await nextLoad(url, context);
  if (!/\/macro\.\w+$/.test(url)) return result;
  return { ...result, source: readFileSync(new URL(url), 'utf8').replace('MACRO', '100') };
}
