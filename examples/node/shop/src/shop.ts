// The web side: carts are kept in memory, every answer is JSON.
import fastify, { type FastifyInstance } from 'fastify';
import { Cart } from './cart.js';
import { OutOfStock, Stock } from './stock.js';

interface Wanted {
  article: string;
  quantity: number;
}

interface OfCart {
  id: string;
}

export function shop(): FastifyInstance {
  const app = fastify();
  const stock = new Stock({ cup: 400, pot: 40, tea: 900, tray: 3 });
  const carts = new Map<string, Cart>();

  function cartOf(id: string): Cart {
    const cart = carts.get(id) ?? new Cart(id);
    carts.set(id, cart);
    return cart;
  }

  app.post<{ Params: OfCart; Body: Wanted }>('/carts/:id/lines', async (request, reply) => {
    const { article, quantity } = request.body;
    const cart = cartOf(request.params.id);
    stock.take(article, quantity);
    await cart.add(article, quantity);
    return reply.code(201).send({ lines: cart.lines.length });
  });

  app.post<{ Params: OfCart; Body: { code: string } }>('/carts/:id/coupons', async (request, reply) => {
    const cart = cartOf(request.params.id);
    cart.coupons.push(request.body.code);
    return reply.code(201).send({ coupons: cart.coupons });
  });

  app.post<{ Params: OfCart }>('/carts/:id/order', async (request, reply) => {
    const cart = carts.get(request.params.id);
    carts.delete(request.params.id);
    if (cart === undefined) return reply.code(404).send({ error: 'no such cart' });
    return { cart: cart.id, total: cart.total() };
  });

  app.setErrorHandler(async (error, _request, reply) => {
    if (error instanceof OutOfStock) return reply.code(409).send({ error: error.message });
    throw error;
  });

  return app;
}
