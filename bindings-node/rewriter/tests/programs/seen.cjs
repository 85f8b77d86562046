const limit = 3
let total = 0

function add (item, { price, tax = 0 } = {}) {
  const net = price * 2
  if (net > 10) {
    const big = true
    total += net
  } else total += tax
  return total
}

class Cart {
  #open = true
  constructor (name) { this.name = name }
  close (how) {
    if (!this.#open) throw new Error(`closed by ${how}`)
    this.#open = false
    for (let i = 0; i < 2; i++) total++
  }
}

const sum = (a, b) =>
  a + b

function outside (n) {
  const inside = m => {
    let k = m
    while (k < limit) k++
    do { k-- } while (k > n)
    return k
  }
  return inside(1)
}

function * steps (n) {
  const got = yield n
  return got + 1
}

async function later (x) {
  const y = await x
  switch (y) {
    case 1:
      let early = 1
      total += early
    default:
      total++
  }
  try { return y } finally { total = 0 }
}

module.exports = async () => {
  total = 0
  const cart = new Cart('c')
  cart.close('a')
  let message
  try { cart.close('b') } catch (error) { message = error.message }
  const walk = steps(1)
  walk.next()
  const early = steps(5)
  early.next()
  early.return(7)
  return [add('x', { price: 6 }), add('y'), message, sum(1, 2), outside(0), walk.next(4), await later(1), await later(2), total]
}
