// The same in a thread of hooks.
import { register } from 'node:module';

register('./macros.mjs', import.meta.url);
