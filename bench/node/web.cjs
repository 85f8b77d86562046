// A service of the application's own: a Fastify program with one route that is asked and one that never is.
'use strict';

const fastify = require('fastify');

async function price(sku) {
  await null;
  return sku.length * 3;
}

async function total(skus) {
  let sum = 0;
  for (const sku of skus) sum += await price(sku);
  return sum;
}

function service() {
  const app = fastify();
  app.addHook('onRequest', async () => {});
  app.get('/cart/:id', async (request) => {
    const id = request.params.id;
    return { id, total: await total(['a', 'bb', 'ccc', id]) };
  });
  app.get('/never', async () => {
    const answer = 42;
    return { answer }; // probe: web
  });
  return app;
}

module.exports = { service };
