'use strict'
// Runs a program as it is, with guards, with all its variants attached, with variants coming and going, and detached again;
// what it does must be the same each time. Prints what the probes saw, as JSON. Called by programs.rs.

const assert = require('node:assert')
const fs = require('node:fs')
const path = require('node:path')
const vm = require('node:vm')
const { Module } = require('node:module')

const call = Function.prototype.call
const { toString } = Object.prototype
const job = JSON.parse(fs.readFileSync(process.argv[2], 'utf8'))
const cells = {}

async function load (text, cell, kind, name) {
  if (kind === 'esm') {
    const file = path.join(path.dirname(process.argv[2]), `${name}.mjs`)
    fs.writeFileSync(file, text)
    return (await import(file)).default
  }
  const module = { exports: {} }
  const file = job.file
  const wrapped = vm.runInThisContext(Module.wrap(text), { filename: file, importModuleDynamically: vm.constants?.USE_MAIN_CONTEXT_DEFAULT_LOADER })
  wrapped.call(module.exports, module.exports, Module.createRequire(file), module, file, path.dirname(file))
  return module.exports
}

function variants (texts, how) {
  // The program may patch what this file uses: nothing here calls through a prototype.
  const absent = Symbol('absent')
  const of = (object, read) => object !== null && typeof object === 'object' ? read(object) : absent
  const common = { __proto__: null, apply: Reflect.apply, TypeError, absent, of, on: true, hit: how }
  return texts.map((variant) => {
    if (variant === null) return undefined
    const rethrow = variant.rethrow === null ? undefined : vm.runInThisContext(variant.rethrow)
    const $s = Object.freeze({ __proto__: null, ...common, rethrow })
    const script = new vm.Script(variant.code, { filename: job.file, lineOffset: variant.firstLine - 1 })
    const made = script.runInThisContext()($s)
    return Object.defineProperty(made, 'call', { value: call })
  })
}

function shown (value) {
  if (typeof value === 'symbol') return 'absent'
  if (typeof value === 'function') return `function ${value.name}`
  if (typeof value === 'bigint') return `${value}n`
  if (value !== null && typeof value === 'object') return Array.isArray(value) ? Array.from(value, shown) : Reflect.apply(toString, value, [])
  return value === undefined ? 'undefined' : value
}

async function main () {
  Object.defineProperty(globalThis, job.cell, { get: () => cells.now, configurable: true })
  Object.defineProperty(globalThis, job.cell, { value: undefined, writable: true, configurable: true })
  const attach = (value) => { globalThis[job.cell] = value }
  const original = await load(job.original, null, job.kind, 'original')
  const guarded = await load(job.guarded, job.cell, job.kind, 'guarded')
  const want = await original()
  assert.deepStrictEqual(await guarded(), want, 'guards changed what it does')

  const seen = []
  const hit = (at, kind, line, values, value) => {
    const copy = {}
    for (const name in values) copy[name] = shown(values[name])
    const entry = { function: job.functions[at].qualified, kind, line, values: copy }
    if (kind === 'return' || kind === 'throw') entry.value = value instanceof Error ? value.message : shown(value)
    seen.push(entry)
  }
  attach(variants(job.variants, hit))
  assert.deepStrictEqual(await guarded(), want, 'variants changed what it does')
  const count = seen.length

  let seed = 1
  const random = () => (seed = (seed * 1103515245 + 12345) & 0x7fffffff) / 0x7fffffff
  const now = []
  const churned = variants(job.variants, () => {
    const at = Math.floor(random() * churned.length)
    now[at] = random() < 0.5 ? churned[at] : undefined
  })
  attach(now)
  for (let round = 0; round < 30; round++) {
    churned.forEach((variant, at) => { if (random() < 0.5) now[at] = variant })
    assert.deepStrictEqual(await guarded(), want, 'coming and going changed what it does')
  }
  attach(undefined)
  assert.deepStrictEqual(await guarded(), want, 'it was not as before after all were detached')
  assert.strictEqual(seen.length, count, 'a detached probe was hit')
  console.log(JSON.stringify(seen))
}

main().catch((error) => { console.error(error); process.exitCode = 1 })
