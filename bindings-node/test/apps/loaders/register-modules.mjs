import { register } from 'node:module';

register('./counts-modules.mjs', import.meta.url);
