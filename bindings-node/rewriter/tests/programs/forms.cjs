// Each kind of function and of use; sloppy mode. It answers with a list of all that can be told from outside.
const log = []
let outer = 1
var counter = 0n
const fixed = 'fixed'
let text = '5'

const repeat = []
const tell = (what, run) => {
  repeat.push([what, run])
  try { log.push([what, run()]) } catch (error) { log.push([what, 'threw', error.name, error.message]) }
}
const asyncs = []
const tellLater = (what, run) => { asyncs.push([what, run]) }

// Writes to variables around.
function writes (by) {
  outer = by
  outer += by; outer -= 1; outer **= 2
  counter++; ++counter; counter--
  text++
  const before = [outer++, --outer, counter++, text--]
  let fresh
  ;[outer, fresh = 3] = [7]
  ;({ outer, a: text = 'none' } = { outer: outer + 1 })
  for (outer of [1, 2]) before.push(outer)
  for (outer in { x: 1 }) before.push(outer)
  outer = 0
  outer ||= 4; outer &&= outer + 1; outer ??= 9
  return [before, fresh, outer, counter, text]
}
tell('writes', () => writes(2))
tell('writes again', () => writes(3))
tell('write to const', () => { fixed = 1 }) // eslint-disable-line no-const-assign

let named
function names () {
  named = function () {}
  const first = named.name
  named = () => {}
  const second = named.name
  named = class {}
  const third = named.name
  named = (function () {})
  return [first, second, third, named.name, (() => {}).name, (function () { return function () {} })().name]
}
tell('names', names)

// Dead zones.
function early () { return late }
tell('dead zone', early)
tell('typeof in dead zone', () => { function inner () { return typeof late } return inner() })
let late = 'late'
tell('out of it', early)

// this, arguments, new.target.
function sloppyThis () { return typeof this }
tell('this boxed', () => [sloppyThis.call(1), sloppyThis.call(undefined), sloppyThis.call('x')])
function mapped (a, b) {
  a = 10
  arguments[1] = 20
  const f = () => arguments[0]
  return [a, b, arguments.length, f(), [].slice.call(arguments)]
}
tell('mapped arguments', () => [mapped(1, 2, 3), mapped(), mapped(1)])
function unmapped (a, b = 2, ...rest) {
  a = 10
  const copy = { arguments }
  return [a, b, arguments[0], arguments.length, rest, Object.keys(copy), copy.arguments === arguments, (() => arguments.length)()]
}
tell('unmapped arguments', () => [unmapped(1), unmapped(1, 5, 6, 7)])
function strictly (a) { 'use strict'; a = 3; return [arguments[0], a, this === undefined] }
tell('strict', () => strictly(1))
function Target () { const inner = () => new.target; return [new.target === Target, inner() === Target, new.target === undefined] }
tell('new.target', () => [Target(), new Target()])
function Old (x) { if (!(this instanceof Old)) return new Old(x); this.x = x; this.self = () => this.x }
Old.prototype.twice = function () { return this.x * 2 }
tell('constructor functions', () => [Old(3).twice(), new Old(4).self(), Object.keys(Old(1))])
function twice (a, a2, a3) { return [a, a2, a3, twice.length] }
tell('length', () => [twice.length, unmapped.length, twice(1)])
function same (a, a) { return a } // eslint-disable-line no-dupe-args
tell('one name twice', () => same(1, 2))

// Parameters.
const give = ({ x, y: [z = outer] = [] } = {}, ...[p, q]) => [x, z, p, q]
tell('patterns', () => [give(), give({ x: 1, y: [2] }, 3, 4)])
function late2 (a, f = () => a) { a = 5; return [a, f()] }
tell('closures in parameters', () => late2(1))
function redeclared (a, b) { var a; function b () { return 1 } return [a, typeof b] } // eslint-disable-line
tell('redeclared', () => redeclared(7, 8))
function hoisted () { const early = typeof later; { function later () {} } return [early, typeof later] }
tell('function in a block', hoisted)
function duplicated () { var f = 1; function f () {} return typeof f } // eslint-disable-line
tell('variable and function', duplicated)
const selfNamed = function me (n) { if (n === 0) return typeof me; me = null; return me(n - 1) } // eslint-disable-line no-func-assign
tell('function expressions see their name', () => selfNamed(2))
const shadowedSelf = function me () { var me = 3; return me }
tell('its name shadowed', () => shadowedSelf())

// Control flow.
function flow (n) {
  const out = []
  outerLoop: for (let i = 0; i < n; i++) {
    let k = 0
    while (k < 3) { if (++k === 2) continue; if (i === 2) continue outerLoop; out.push(i * k) }
    do { if (k-- > 2) continue; out.push(`d${k}`) } while (k > 0 && i < 3)
    switch (i) {
      case 0: { let s = 1; out.push(s); break }
      case 1: let t = 2; out.push(t) // eslint-disable-line no-case-declarations
      default: try { out.push(t) } catch (error) { out.push(error.message) }
    }
    if (i === 4) break outerLoop; else if (i === 3) out.push('three')
    else ;
  }
  here: { out.push('a'); if (n) break here; out.push('b') }
  again: while (n > 0) { n--; if (n === 3) continue again; if (n === 1) break again }
  return out.concat(n)
}
tell('flow', () => flow(6))
function finals (how) {
  for (const x of [1, 2]) {
    try {
      if (how === 0) return 'try'
      if (how === 1) throw new Error('mine')
      if (how === 2) continue
    } catch (error) {
      return error.message
    } finally {
      if (how === 3) return 'finally'
      if (how === 4) break // eslint-disable-line no-unsafe-finally
    }
    if (x === 2) return 'after'
  }
}
tell('finally', () => [0, 1, 2, 3, 4, 5].map(finals))
function override () { try { return 1 } finally { outer = 'seen' } }
tell('return, then finally', () => [override(), outer])
function abandoned () { for (;;) { try { return 'lost' } finally { break } } } // eslint-disable-line no-unsafe-finally
tell('a return that finally takes back', abandoned)
function noSemicolons (a) {
  let b = a
  ++b
  const c = b
  ;[b] = [c + 1]
  if (a) b
  else c
  return [b,
    c]
}
tell('no semicolons', () => noSemicolons(1))
function asi () { return
  1 } // eslint-disable-line
tell('return alone', asi)
function returnsFunctions () { return function () {} }
tell('what is returned gets no name', () => returnsFunctions().name)
function * counted () { let n = 0; while (n < 2) yield n++; return outer }
tell('generator', () => { const g = counted(); return [g.next(), g.next(), g.next(), g.next()] })
function * closed () { try { yield 1; yield 2 } finally { log.push('cleaned') } }
tell('closed from outside', () => { const g = closed(); g.next(); return [g.return('r'), g.next()] })
tell('thrown into', () => { const g = closed(); g.next(); return g.throw(new Error('in')) })
tell('never begun', () => { const g = closed(); return [g.return(1), g.next()] })
function * both () { const got = yield * counted(); const sent = yield got; arguments[0] = sent; return [sent, arguments.length] }
tell('delegates', () => { const g = both(1); return [g.next(), g.next(), g.next(), g.next('s')] })
tell('spread', () => [...counted()])

// Async functions.
async function later (x) { await null; if (x) throw new RangeError('late'); return x }
tellLater('async', () => later(0))
tellLater('async throws', () => later(1))
const arrowLater = async x => (await later(0)) + x + (await 1)
tellLater('async arrow', () => arrowLater(2))
async function caught () { try { return await later(1) } catch (error) { return error.message } finally { outer = 'f' } }
tellLater('async caught', caught)
async function notAwaited () { try { return later(1) } catch { return 'caught' } }
tellLater('async not awaited', notAwaited)
async function * many (n) { try { for (let i = 0; i < n; i++) yield later(0).then(() => i); return later(0) } finally { outer = 'g' } }
tellLater('async generator', async () => { const out = []; for await (const x of many(3)) out.push(x); return out })
tellLater('async generator ends', async () => { const g = many(1); return [await g.next(), await g.next(), await g.next()] })
tellLater('async generator closed', async () => { const g = many(2); await g.next(); return [await g.return('x'), await g.next()] })
async function * failing () { try { return later(1) } catch (error) { yield error.message } }
tellLater('awaited in async generator', async () => { const g = failing(); return [await g.next(), await g.next()] })

// Objects and classes.
const base = { who () { return `base ${this.me}` }, get prop () { return this.me }, set prop (v) { this.me = v } }
const object = {
  __proto__: base,
  me: 'object',
  who () { return [super.who(), (() => super.who())(), super.prop] },
  change (v) { super.prop = v; super.added = 1; super.added++; return [this.me, this.added] },
  computed (k) { return [super[k](), super[k + ''].length] },
  none () { return super.none() },
  async later () { await null; return super.who() },
  * each () { yield super.who(); yield arguments.length },
  get [`${fixed}!`] () { return super.prop },
  mixed (a) { a = 3; return [arguments[0], super.who()] }
}
tell('super in objects', () => [object.who(), object.change('changed'), object.computed('who'), [...object.each(1, 2)], object['fixed!'], object.mixed(1)])
tell('super that is not there', () => object.none())
tellLater('super in async', () => object.later())

class Base {
  static made = 0
  field = this.constructor.name
  constructor (x) { this.x = x; Base.made++; this.target = new.target.name }
  get double () { return this.x * 2 }
  static create (...args) { return new this(...args) }
  method () { return `base ${this.x}` }
}
class Derived extends Base {
  #secret = 1
  static #count = 0
  arrow = (n) => this.#secret + n + super.method().length
  constructor (x, how) {
    const make = () => super(x)
    if (how === 'arrow') make(); else if (how === 'object') { super(x); return { other: true } } else if (how === 'none') { return } else super(...[x, 2])
    this.y = x + 1
    Derived.#count++
    const read = () => this.y
    this.z = read()
  }
  get secret () { return this.#secret }
  set secret (v) { this.#secret = v }
  #hidden (n) { return n + this.#secret }
  get #computed () { return this.#secret * 10 }
  set #computed (v) { this.#secret = v / 10 }
  use () {
    this.#secret++; this.#secret += 2; ++this.#secret; this.#secret ||= 5
    const old = this.#secret--
    ;[this.#secret] = [old * 2]
    ;({ a: this.#computed } = { a: 300 })
    this.#computed += 10
    return [old, this.#hidden(1), this.#computed, #secret in this, #secret in {}, [1].map((x) => this.#hidden(x))]
  }
  broken () { return ({}).#secret } // eslint-disable-line
  notCallable () { return this.#secret() }
  chained (o) { return o?.#secret }
  static count () { return Derived.#count }
  method () { return [super.method(), super.double, new.target === undefined] }
  static create (x) { return super.create(x).method() }
  static { this.block = () => this.#count }
  async wait () { await null; return this.#hidden(1) }
  * walk () { yield this.#secret; yield * [1, 2].map(n => n + this.#secret) }
  async * stream () { yield this.#hidden(2) }
}
tell('derived', () => { const d = new Derived(1); return [Object.entries(d).map(([k, v]) => [k, typeof v === 'function' ? v.length : v]), d.use(), d.method(), d.secret, (d.secret = 4), d.arrow(1), Derived.create(5), Derived.block() > 0, d.chained(null), d.chained(d), [...d.walk()]] })
tell('derived by arrow', () => new Derived(2, 'arrow').z)
tell('derived gives another', () => new Derived(2, 'object'))
tell('derived without super', () => new Derived(2, 'none'))
tell('private of another', () => new Derived(1).broken())
tell('private that is no function', () => new Derived(1).notCallable())
tellLater('private in async', async () => { const d = new Derived(1); const out = [await d.wait()]; for await (const x of d.stream()) out.push(x); return out })
class Implicit extends Derived { extra = 1 }
tell('implicit constructor', () => [new Implicit(3).z, new Implicit(3).extra])
const classFor = (n) => class extends Base { m () { return n++ + this.x } static s = n }
tell('classes of functions', () => { const C = classFor(1); const c = new C(10); return [c.m(), c.m(), C.s, C.name] })
class WithStatics { static x = 1; static y = this.x + 1; static z = () => this.y; ['computed' + fixed] () { return fixed } }
tell('statics', () => [WithStatics.y, WithStatics.z(), new WithStatics().computedfixed()])

let made = 0
const count = () => ++made
const withFields = () => class Fields extends Base {
  static list = [count(), this.name, typeof super.create]
  static #own = count() + 1
  static own = Fields.#own + Fields.#own
  #secret = count() + fixed.length
  plain = count()
  sum = this.#secret + this.x
  asked = super.method()
  nested = [1, 2].map((n) => n + this.plain)
  ['key' + fixed] = { get () { return made }, [fixed]: this.x };
  named = function () { return 1 }
  parens = (() => 1)
  classy = class {}
  constant = 1
  text = `a${this.x}`
  target = typeof new.target
  made = new holder.Inner(2).x
  late = late2
    ?? count()
  read () { return this.#secret }
}
var late2
tell('fields', () => {
  made = 0
  const Fields = withFields()
  const one = new Fields(7)
  return [Fields.list, Fields.own, made, one, one.named.name, one.parens.name, one.classy.name, one['key' + fixed].get(), one.read()]
})
tell('fields that fail', () => { class Fails { a = null.b } return new Fails() })
tell('top fields', () => [new TopFields().sum, TopFields.all])
class TopFields { static all = [1, 2].map((n) => n * 2); one = count.length; sum = this.one + TopFields.all[0] }

// new with what stands around.
const holder = { Inner: class { constructor (x) { this.x = x } }, deep: { make () { return holder.Inner } } }
function builds () { return [new holder.Inner(1).x, new (holder.deep.make())(2).x, new holder['Inner'](3).x, new Old(5).twice(), new Base(1).double] }
tell('new', builds)
const tag = (strings, ...values) => strings.raw.join('|') + values.join()
function tags () { return [tag`a${outer}b`, tag`x`, String.raw`\n${fixed}`] }
tell('templates', tags)
function optional (o) { return [o?.x, o?.[outer], holder?.Inner?.name, outer?.nothing?.(), tag?.call] .map(String) }
tell('optional', () => optional(null))
function shorthand () { return { outer, counter, tag, fixed, log: typeof log } }
tell('shorthand', () => Object.keys(shorthand()).concat(shorthand().fixed))
function modules () { return [typeof require('fs').readFileSync, typeof module.exports, typeof exports, __filename === module.filename || typeof __filename, typeof __dirname] }
tell('of the wrapper', modules)
tellLater('import()', async () => (await imports('node:path')).sep)
async function imports (name) { return import(name) }
function deep (n) { return (a => (b => (c => { outer = a; return () => [a, b, c, n, fixed, outer] })(3))(2))(1)() }
tell('nested', () => deep(0))
function makes () { let own = 0; return { up () { return ++own }, down: () => --own, get own () { return own } } }
tell('closures keep', () => { const m = makes(); return [m.up(), m.up(), m.down(), m.own] })
function evals (x) { return eval('x + 1') } // eslint-disable-line no-eval
tell('eval', () => evals(1))
function withs (o) { with (o) { return (() => inside)() } } // eslint-disable-line
tell('with', () => withs({ inside: 'w' }))
function callee (n) { return n ? arguments.callee(n - 1) : 'done' } // eslint-disable-line no-caller
tell('callee', () => callee(2))
function deletes () { return [delete outer, delete holder.nothing] } // eslint-disable-line no-delete-var
tell('delete', deletes)
const spaced = ( a , /* b */ b = /* ( */ 1 ) => /* } */ ( { a , b } ) // }
tell('spaced', () => spaced(1))
const sequence = (a) => (a++, a)
tell('sequence', () => sequence(1))
const comment = (a) => { return a // last
}
tell('comment at the end', () => comment(1))
const nothing = () => {}
tell('empty', () => nothing())
function onlyDirective () { 'use strict' }
tell('directive only', () => onlyDirective())
function unicode (größe) { const 变量 = größe + '\u2028'.length; return () => 变量 }
tell('unicode', () => unicode(1)())
function recursion (n) { return n === 0 ? 0 : 1 + recursion(n - 1) }
tell('recursion', () => recursion(500))
function thrower () { throw { not: 'an error' } } // eslint-disable-line no-throw-literal
tell('throws', () => { try { thrower() } catch (thrown) { return thrown } })
tell('patched call', () => {
  const { call } = Function.prototype
  let calls = 0
  try { Function.prototype.call = function (...args) { calls++; return Reflect.apply(this, args[0], args.slice(1)) }; return [recursion(3), calls] } finally { Function.prototype.call = call } // eslint-disable-line no-extend-native
})
tell('lines of errors', () => { try { undefined.x } catch (error) { return error.stack.split('\n')[1].replace(/.*:(\d+):\d+\)?$/, '$1') } })

const first = log.splice(0)
module.exports = async () => {
  outer = 1; counter = 0n; text = '5'; late = 'late'
  const again = []
  for (const [what, run] of repeat) {
    try { again.push([what, run()]) } catch (error) { again.push([what, 'threw', error.name, error.message]) }
  }
  for (const [what, run] of asyncs) {
    try { again.push([what, await run()]) } catch (error) { again.push([what, 'threw', error.name, error.message]) }
  }
  return JSON.parse(JSON.stringify([first, again, log.splice(0)], (key, value) => typeof value === 'bigint' ? `${value}n` : value === undefined ? 'undefined' : value))
}
