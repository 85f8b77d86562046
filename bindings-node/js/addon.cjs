// The addon: built from source by tools/addon.sh, or shipped with the package, in native/.
'use strict';

module.exports = require('../native/stroboscope.node');
