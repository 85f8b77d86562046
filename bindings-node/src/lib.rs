//! The Node binding's addon: exports only.
//!
//! The two walks through this crate:
//!
//! * a **configuration goes in**: the core's worker → `runtime` → `hands` (a thread of its own) → `placing`, which knows the
//!   modules by `units` → `put` → `place`, with the rewriter → `realms`, whose JavaScript (`js/realm.cjs`) puts the variant into its cell; or, where no variant can be,
//!   `watch`, whose JavaScript (`js/watch.cjs`, `js/watcher.cjs`) has a debugger stop there, without stopping;
//! * a **hit goes out**: the variant, in JavaScript → `intake` → the core.

#![allow(clippy::needless_pass_by_value, reason = "Node-API hands arguments over by value")]
#![cfg_attr(test, allow(dead_code, reason = "what is exported is called by JavaScript only"))]

mod cache;
mod command;
mod error;
mod explained;
mod guard;
mod hands;
mod hit_code;
mod identity;
mod intake;
mod modules;
mod names;
mod origins;
mod place;
mod placing;
mod program;
mod put;
mod realms;
mod runtime;
mod session;
mod symbols;
mod text;
mod units;
mod vectors;
mod watch;

use napi::{Env, JsString};
use napi_derive::{module_init, napi};
use stroboscope_process::memory::Memory;

#[global_allocator]
static MEMORY: Memory = Memory;

#[module_init]
fn init() {
    guard::silence();
}

/// The version of the addon and of the core in it.
#[napi]
pub fn version() -> &'static str {
    env!("CARGO_PKG_VERSION")
}

/// The text of a module of ours.
#[napi]
pub fn text_of(env: &Env, file: String) -> napi::Result<JsString<'_>> {
    let text = std::fs::read_to_string(&file).map_err(|why| error::said(format!("{file} cannot be read: {why}")))?;
    text::of_ours(env, text)
}

/// The first call of the record writer: it passes the layout that it writes, and another one is refused.
#[napi]
pub fn hello(layout: u32, version: String) -> napi::Result<()> {
    stroboscope_core::intake::hello(layout, &version).map_err(error::thrown)
}
