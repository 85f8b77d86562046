'use strict';

import('./total.mjs').then(({ total }) => console.log(total([1, 2])));
