console.log(require(`./${process.env.MACRO_FILE}`).add(1));
