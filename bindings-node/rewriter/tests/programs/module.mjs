// An ES module: its bindings live on, `import.meta`, top-level await, no `this`.
import fs, { sep, join as together } from 'node:path'
import * as all from 'node:path'

export let live = 0
export default run
const ready = await Promise.resolve('ready')
let cannot

function writesImport () { try { sep = 1 } catch (error) { return error.name } } // eslint-disable-line no-import-assign
function up () { live++; return live }
const read = () => [sep, typeof together, all.sep === sep, fs.sep === sep, ready, this === undefined]
function meta () { return [typeof import.meta.url, new.target === undefined, new URL('.', import.meta.url).protocol] }
async function later () { const { sep: s } = await import('node:path'); return s }
async function waits () { for await (const x of [later(), 2]) cannot = x; return cannot }
export class Shape { static #made = 0; #sides; constructor (sides) { this.#sides = sides; Shape.#made++ } get sides () { return this.#sides } static made () { return Shape.#made > 0 } }
export const square = new (class Square extends Shape { constructor () { super(4) } })()
function sloppy () { return typeof this }
const inner = { up, async * each () { yield * [up() > 0, up() > 0]; return ready } }

async function run () {
  live = 0
  const each = []
  for await (const x of inner.each()) each.push(x)
  return JSON.parse(JSON.stringify([up(), read(), meta(), await later(), await waits(), square.sides, Shape.made(), sloppy(), each, writesImport()]))
}
