'use strict';
console.log('runs');
//# sourceMappingURL=no-such.map
