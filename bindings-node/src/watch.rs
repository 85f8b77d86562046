//! Probes where no guard reaches (the top level of a module, functions that cannot be rewritten, modules without guards, calls
//! that run already): a debugger *watches* for them, with breakpoints whose conditions are hits and never hold. What is watched
//! stands here; `js/watch.cjs` makes the hooks that conditions call, in the main thread, and `js/watcher.cjs`, a thread of its
//! own that is there as soon as it is needed, sets the breakpoints. On the walk of a configuration going in, after
//! [`crate::put`], beside [`crate::realms`].
//!
//! A breakpoint costs far more than a variant, at each hit and as it is set. What both cost is measured, and the core decides by
//! it when one is taken away for want of a token, and when a probe is paused.

use crate::place::{Stop, Use};
use crate::{guard, placing, realms, session, units};
use napi::Status;
use napi::bindgen_prelude::Function;
use napi::threadsafe_function::{ThreadsafeFunction, ThreadsafeFunctionCallMode};
use napi_derive::napi;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use stroboscope_core::budget::placing::Deferred;
use stroboscope_core::clock::{Clock, SystemClock};

/// The realm whose code a debugger in another thread can reach.
const MAIN: u32 = 0;
/// What a hit costs until it was measured, in nanoseconds.
const HIT_NS: u32 = 250_000;

/// Wakes the watcher, which lives as long as this does.
type Waker = ThreadsafeFunction<(), (), (), Status, false>;

/// A probe that is to be watched for in a module.
pub struct Order {
    /// The file, as the host knows it.
    pub path: Arc<str>,
    /// The length of the text that runs, in UTF-16 units.
    pub length: u32,
    /// Where to stop, and what to evaluate there.
    pub stops: Vec<Stop>,
    /// What the sites of the hits are made of.
    pub hits: Vec<realms::Hit>,
    /// The probe, with what is said of it once that is done.
    pub one: Use,
    /// The probe is in a variant as well: without this it misses calls that run already.
    pub beside: bool,
    /// The engine may know the file by an address with a query, as it does modules of ES, and what a program compiles itself.
    pub has_queries: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The main thread has to make its hook.
    Ordered,
    /// That is put off: others have taken too much.
    Deferred,
    /// The watcher has to set its breakpoints.
    Ready,
    /// They are set, or being set.
    Set,
    /// They go until there is a token, …
    Resting,
    /// … and are away.
    Away,
    /// They go, and the hook after them.
    Leaving,
}

struct Watch {
    order: Order,
    stage: Stage,
    /// What setting its breakpoints has cost at least, in nanoseconds.
    price: u32,
    /// What a hit costs is known.
    measured: bool,
}

#[derive(Default)]
struct State {
    /// What the names of hooks begin with: no text of the program contains it.
    prefix: String,
    next: u32,
    watches: BTreeMap<u32, Watch>,
    /// Hooks that nothing calls any more.
    left: Vec<u32>,
    waker: Option<Waker>,
    /// Watches of which it has become known what a hit costs.
    measured: Vec<u32>,
    /// Watches that were set while the program waits for them, unless it waits for the debugger to begin.
    awaited: Option<Vec<u32>>,
    /// Scripts are to be listed …
    lists: bool,
    /// … or that is being done.
    listing: bool,
    /// What switching the debugger on has cost at least, in nanoseconds, …
    switch_price: Option<u64>,
    /// … which is not counted yet: it was done for the watch that is set next.
    switched: bool,
    /// Why there is no watcher.
    broken: Option<String>,
}

static STATE: Mutex<Option<State>> = Mutex::new(None);

fn with<R>(use_it: impl FnOnce(&mut State) -> R) -> R {
    let mut state: MutexGuard<'_, Option<State>> = STATE.lock().unwrap_or_else(PoisonError::into_inner);
    use_it(state.get_or_insert_default())
}

/// Why no debugger can watch for probes in a realm; nothing if one can.
pub fn why_not(realm: u32) -> Option<String> {
    if realm != MAIN {
        return Some("a debugger reaches the main thread only".to_owned());
    }
    with(|state| state.broken.clone())
}

/// The number of the next watch, and the name of its hook.
pub fn next() -> (u32, String) {
    with(|state| {
        state.next += 1;
        (state.next, hook(state, state.next))
    })
}

fn hook(state: &State, number: u32) -> String {
    format!("{}w{number}", state.prefix)
}

/// Orders a watch.
pub fn add(number: u32, order: Order) {
    order.one.live.set_refused_cost(HIT_NS);
    with(|state| {
        state.watches.insert(number, Watch { order, stage: Stage::Ordered, price: u32::MAX, measured: false })
    });
    realms::wake(MAIN);
}

/// Ends watches of a probe in a module.
pub fn drop(numbers: &[u32]) {
    with(|state| {
        for number in numbers {
            let Some(watch) = state.watches.get_mut(number) else { continue };
            if matches!(watch.stage, Stage::Ordered | Stage::Deferred) {
                state.watches.remove(number);
            } else {
                watch.stage = Stage::Leaving;
            }
        }
        wake(state);
    });
}

/// The hooks of a probe may go until it has a token …
pub fn rest(slot: u32) {
    turn(slot, &[Stage::Ready, Stage::Set], Stage::Resting);
}

/// … and now it has one.
pub fn resume(slot: u32) {
    turn(slot, &[Stage::Resting, Stage::Away], Stage::Ready);
    if turn(slot, &[Stage::Deferred], Stage::Ordered) {
        realms::wake(MAIN);
    }
}

fn turn(slot: u32, from: &[Stage], to: Stage) -> bool {
    with(|state| {
        let mut turned = false;
        for watch in state.watches.values_mut() {
            if watch.order.one.live.slot == slot && from.contains(&watch.stage) {
                watch.stage = to;
                turned = true;
            }
        }
        if turned {
            wake(state);
        }
        turned
    })
}

fn wake(state: &State) {
    if let Some(waker) = &state.waker {
        waker.call((), ThreadsafeFunctionCallMode::NonBlocking);
    }
}

/// Asks for the scripts that are loaded: [`placing::scripts`] is told. False if there is no watcher.
pub fn list() -> bool {
    let asked = with(|state| {
        state.lists = state.broken.is_none();
        wake(state);
        state.lists
    });
    if asked {
        realms::wake(MAIN);
    }
    asked
}

/// True while something was ordered that is not done: the main thread must come by for it.
fn is_busy() -> bool {
    with(|state| {
        let is_new = |stage| matches!(stage, Stage::Ordered | Stage::Ready | Stage::Set);
        let waits = |watch: &Watch| is_new(watch.stage) && watch.price == u32::MAX;
        state.lists || state.listing || state.watches.values().any(waits)
    })
}

/// The same for a realm.
pub fn is_busy_with(realm: u32) -> bool {
    realm == MAIN && is_busy()
}

/// A hook that the main thread is to make.
#[napi(object)]
pub struct WatchHook {
    /// Its number.
    pub number: u32,
    /// Its name.
    pub name: String,
    /// What the sites in it are made of; none: it goes.
    pub hits: Vec<crate::modules::RealmHit>,
}

/// What the main thread is to do.
#[napi(object)]
pub struct WatchHooks {
    /// Hooks to be made, or to go.
    pub hooks: Vec<WatchHook>,
    /// The watcher must be there.
    pub watcher: bool,
}

/// Says what the names of hooks begin with.
#[napi]
pub fn watch_prefix(prefix: String) {
    with(|state| state.prefix = prefix);
}

/// Hooks that wait for the main thread.
#[napi]
pub fn watch_hooks() -> napi::Result<WatchHooks> {
    guard::guarded(|| {
        for (one, deferred) in defer() {
            placing::watched(&one, None);
            session::defer(one.ticket, deferred);
        }
        Ok(with(|state| {
            let gone = std::mem::take(&mut state.left);
            let gone = gone.into_iter().map(|number| (number, Vec::new()));
            let new = state.watches.iter().filter(|(_, watch)| watch.stage == Stage::Ordered);
            let new =
                new.map(|(number, watch)| (*number, watch.order.hits.iter().map(crate::modules::told_hit).collect()));
            let hooks: Vec<WatchHook> =
                gone.chain(new).map(|(number, hits)| WatchHook { number, name: hook(state, number), hits }).collect();
            let watcher = state.lists || hooks.iter().any(|hook| !hook.hits.is_empty());
            WatchHooks { hooks, watcher }
        }))
    })
}

/// Puts off what there is no room for in the budget.
fn defer() -> Vec<(Use, Deferred)> {
    let is_new = |(_, watch): &(&u32, &Watch)| watch.stage == Stage::Ordered && !watch.order.beside;
    let new: Vec<u32> = with(|state| state.watches.iter().filter(is_new).map(|(number, _)| *number).collect());
    let mut deferred = Vec::new();
    for number in new {
        let Err(why) = session::book_placing() else { continue };
        with(|state| {
            if let Some(watch) = state.watches.get_mut(&number) {
                watch.stage = Stage::Deferred;
                deferred.push((watch.order.one.clone(), why));
            }
        });
    }
    deferred
}

/// A hook is made, which took so long, or could not be.
#[napi]
pub fn watch_made(number: u32, milliseconds: f64, error: Option<String>) -> napi::Result<()> {
    guard::guarded(|| {
        let took = (milliseconds * 1e6) as u64;
        session::placing_took(0, took);
        match error {
            None => with(|state| {
                if let Some(watch) = state.watches.get_mut(&number).filter(|watch| watch.stage == Stage::Ordered) {
                    watch.stage = Stage::Ready;
                    watch.order.one.live.stats.spent(took);
                }
                wake(state);
            }),
            Some(error) => failed(number, &error),
        }
        Ok(())
    })
}

/// The program is about to wait for what was ordered. False if it need not.
#[napi]
pub fn watch_awaits() -> napi::Result<bool> {
    guard::guarded(|| {
        let is_busy = is_busy();
        if is_busy {
            with(|state| state.awaited = Some(Vec::new()));
        }
        Ok(is_busy)
    })
}

/// It has waited so long: that is what the watches cost which were set meanwhile. Where it waited for the debugger to begin, each
/// has counted by itself.
#[napi]
pub fn watch_awaited(milliseconds: f64) -> napi::Result<()> {
    guard::guarded(|| {
        let waited = (milliseconds * 1e6) as u64;
        let placed = with(|state| {
            let awaited = state.awaited.take().unwrap_or_default();
            let each = waited.checked_div(awaited.len() as u64).unwrap_or(0);
            for watch in awaited.iter().filter_map(|number| state.watches.get(number)) {
                watch.order.one.live.stats.spent(each);
            }
            awaited.len() as u32
        });
        if placed > 0 {
            session::placing_took(placed, waited);
        }
        Ok(())
    })
}

/// True while something was ordered that is not done.
#[napi]
pub fn watch_is_busy() -> napi::Result<bool> {
    guard::guarded(|| Ok(is_busy()))
}

/// The hits of a probe may be switched off until there is a token.
#[napi]
pub fn watch_rest(slot: u32) -> napi::Result<()> {
    guard::guarded(|| {
        rest(slot);
        Ok(())
    })
}

/// The CPU that this thread has used, in milliseconds.
#[napi]
pub fn watch_clock() -> f64 {
    SystemClock.thread_cpu() as f64 / 1e6
}

/// What a hit of a watch costs before our own code begins, in nanoseconds.
#[napi]
pub fn watch_cost(number: u32, nanoseconds: f64) -> napi::Result<()> {
    guard::guarded(|| {
        with(|state| {
            if let Some(watch) = state.watches.get_mut(&number) {
                watch.order.one.live.set_refused_cost(nanoseconds as u32);
                watch.measured = true;
                state.measured.push(number);
            }
            wake(state);
        });
        Ok(())
    })
}

/// There can be no watcher, or it is gone: what it watched for is not watched for any more.
#[napi]
pub fn watcher_broken(why: String) -> napi::Result<()> {
    guard::guarded(|| {
        let numbers: Vec<u32> = with(|state| {
            // The waker stays: without it the thread would end while its debugger is still connected.
            (state.lists, state.listing) = (false, false);
            state.broken = Some(why.clone());
            state.watches.keys().copied().collect()
        });
        for number in numbers {
            failed(number, &why);
        }
        placing::scripts(&[]);
        Ok(())
    })
}

/// The watcher is there. `wake` is called in it when there is something to be done.
#[napi]
pub fn watcher_opens(wake: Function<'_, (), ()>) -> napi::Result<()> {
    guard::guarded(|| {
        let waker = wake.build_threadsafe_function::<()>().callee_handled::<false>().build()?;
        let before = with(|state| state.waker.replace(waker));
        std::mem::drop(before);
        Ok(())
    })
}

/// What the watcher is to do.
#[derive(Default)]
#[napi(object)]
pub struct WatcherWork {
    /// The debugger must be on; else it may go, after a while.
    pub needed: bool,
    /// Nothing will be watched for until there is another probe.
    pub done: bool,
    /// The scripts that are loaded are to be told.
    pub lists: bool,
    /// Watches of which it is known what a hit costs.
    pub measured: Vec<u32>,
    /// Watches whose breakpoints go.
    pub unset: Vec<u32>,
    /// Breakpoints to be set.
    pub set: Vec<WatcherSet>,
}

/// Breakpoints of a watch.
#[napi(object)]
pub struct WatcherSet {
    /// Its number.
    pub number: u32,
    /// The probe's slot.
    pub slot: u32,
    /// The name of its hook.
    pub hook: String,
    /// The file.
    pub path: String,
    /// The length of the text that runs.
    pub length: u32,
    /// Where, with what.
    pub stops: Vec<WatcherStop>,
    /// What a hit costs is to be measured.
    pub measures: bool,
    /// It is for calls that run already: it goes when there are none any more.
    pub beside: bool,
    /// The engine may know the file by an address with a query.
    pub has_queries: bool,
}

/// A breakpoint.
#[napi(object)]
pub struct WatcherStop {
    /// Its line, from 0.
    pub line: u32,
    /// Its column, from 0.
    pub column: u32,
    /// What its condition evaluates before it is false.
    pub code: String,
}

/// What the watcher is to do now.
#[napi]
pub fn watcher_work() -> napi::Result<WatcherWork> {
    guard::guarded(|| Ok(with(work)))
}

fn work(state: &mut State) -> WatcherWork {
    let stop =
        |stop: &Stop| WatcherStop { line: stop.at.0.saturating_sub(1), column: stop.at.1, code: stop.code.clone() };
    let mut work = WatcherWork { needed: state.lists, lists: state.lists, ..WatcherWork::default() };
    work.measured = std::mem::take(&mut state.measured);
    for (number, watch) in &mut state.watches {
        match watch.stage {
            Stage::Ordered | Stage::Set => work.needed = true,
            Stage::Deferred | Stage::Away => {}
            Stage::Leaving => work.unset.push(*number),
            Stage::Resting => {
                watch.stage = Stage::Away;
                work.unset.push(*number);
            }
            Stage::Ready => {
                watch.stage = Stage::Set;
                work.needed = true;
                let Order { path, length, stops, beside, has_queries, .. } = &watch.order;
                work.set.push(WatcherSet {
                    number: *number,
                    slot: watch.order.one.live.slot,
                    hook: format!("{}w{number}", state.prefix),
                    path: path.to_string(),
                    length: *length,
                    stops: stops.iter().map(stop).collect(),
                    measures: !watch.measured,
                    beside: *beside,
                    has_queries: *has_queries,
                });
            }
        }
    }
    work.done = !work.needed && state.watches.values().all(|watch| watch.stage == Stage::Leaving);
    work
}

/// The debugger is on, which took so long.
#[napi]
pub fn watcher_switched(milliseconds: f64) {
    with(|state| {
        let took = (milliseconds * 1e6) as u64;
        state.switch_price = Some(state.switch_price.map_or(took, |least| least.min(took)));
        state.switched = true;
    });
}

/// Breakpoints are set, which took so long, or cannot be.
#[napi]
pub fn watcher_set(number: u32, milliseconds: f64, error: Option<String>) -> napi::Result<()> {
    guard::guarded(|| {
        if let Some(error) = error {
            failed(number, &error);
            return Ok(());
        }
        let one = with(|state| {
            let watch = state.watches.get_mut(&number)?;
            let took = (milliseconds * 1e6) as u32;
            let is_first = watch.price == u32::MAX;
            watch.price = watch.price.min(took);
            let live = &watch.order.one.live;
            live.set_rearm_cost(watch.price);
            // Time in which the program had something else to do is not what it costs.
            let switched = std::mem::take(&mut state.switched).then_some(state.switch_price).flatten();
            if switched.is_some() {
                state.awaited = None;
            }
            match &mut state.awaited {
                Some(awaited) => awaited.push(number),
                None => live.stats.spent(u64::from(watch.price)),
            }
            live.stats.spent(switched.unwrap_or(0));
            is_first.then(|| watch.order.one.clone())
        });
        if let Some(one) = one {
            placing::watched(&one, None);
        }
        Ok(())
    })
}

/// Breakpoints are gone.
#[napi]
pub fn watcher_unset(number: u32) -> napi::Result<()> {
    guard::guarded(|| {
        let gone = with(|state| {
            let is_gone = state.watches.get(&number).is_some_and(|watch| watch.stage == Stage::Leaving);
            if is_gone {
                state.watches.remove(&number);
                state.left.push(number);
            }
            is_gone
        });
        if gone {
            realms::wake(MAIN);
        }
        Ok(())
    })
}

/// Calls that are older than their probe have not come by for a while: its breakpoints go, and with the last ones the debugger,
/// which costs the whole process.
#[napi]
pub fn watcher_quiet(number: u32) -> napi::Result<()> {
    guard::guarded(|| {
        let one = with(|state| {
            let watch = state.watches.get_mut(&number).filter(|watch| watch.stage == Stage::Set)?;
            watch.stage = Stage::Leaving;
            let one = watch.order.one.clone();
            wake(state);
            Some(one)
        });
        if let Some(one) = one {
            placing::watched(&one, Some(("none has come by for ten seconds", true)));
        }
        Ok(())
    })
}

/// The scripts that are loaded, by their paths. Answers those whose text is wanted, by their places in the list.
#[napi]
pub fn watcher_scripts(paths: Vec<String>) -> napi::Result<Vec<u32>> {
    guard::guarded(|| {
        with(|state| (state.lists, state.listing) = (false, true));
        Ok(placing::scripts(&paths))
    })
}

/// The text of one.
#[napi]
pub fn watcher_script(path: String, text: String, is_module: bool) -> napi::Result<()> {
    guard::guarded(|| {
        units::without_guards(MAIN, &path, &text, is_module);
        Ok(())
    })
}

/// All of them are told.
#[napi]
pub fn watcher_listed() {
    with(|state| state.listing = false);
}

/// A watch that cannot be.
fn failed(number: u32, why: &str) {
    let gone = with(|state| state.watches.remove(&number));
    if let Some(watch) = gone {
        let Order { one, beside, .. } = watch.order;
        placing::watched(&one, Some((why, beside)));
    }
}
