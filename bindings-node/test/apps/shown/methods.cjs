// The methods that the frames of a stack are of.
Error.stackTraceLimit = 50;
Error.prepareStackTrace = (_, sites) => sites.map((site) => `${site.getTypeName()} ${site.getFunctionName()} ${site.getMethodName()}`).join('\n');
console.log(new Error('x').stack);
