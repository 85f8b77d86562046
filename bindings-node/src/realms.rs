//! Realms: the threads of the process that run JavaScript of the program. Code is put into a realm by the realm itself: the
//! orders wait here, a call wakes its event loop, and it takes them; or it takes them at once, as a module is loaded or a
//! probe is added. On the walk of a configuration going in, after [`crate::runtime`].

use crate::place::Use;
use napi::bindgen_prelude::Function;
use napi::threadsafe_function::{ThreadsafeFunction, ThreadsafeFunctionCallMode};
use napi::{Env, Status};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use stroboscope_core::host::StackFrame;
use stroboscope_core::registry::LiveProbe;

/// Wakes a realm's event loop, which it never keeps alive.
type Waker = ThreadsafeFunction<(), (), (), Status, false, true>;

/// What a realm is asked to put into one function.
#[derive(Clone)]
pub struct Order {
    /// The global that the module's guards read.
    pub cell: Arc<str>,
    /// The function's number there.
    pub function: u32,
    /// The file that it is of, …
    pub file: Arc<str>,
    /// … which may be a module of ES.
    pub is_module: bool,
    /// What it runs from now on; `None`: itself again.
    pub variant: Option<Variant>,
    /// The probes that are in it.
    pub uses: Vec<Use>,
}

/// A function with probes in it.
#[derive(Clone)]
pub struct Variant {
    /// Its text.
    pub code: String,
    /// The line at which it begins in its file.
    pub line: u32,
    /// The function's name in it.
    pub name: String,
    /// The number of the text ([`crate::names::text`]).
    pub text: u32,
    /// How many functions its module has.
    pub functions: u32,
    /// Where the guard stands that calls it: its line, and the columns at which it begins and ends.
    pub guard: (u32, u32, u32),
    /// Text of a function that throws what it is given.
    pub rethrow: Option<String>,
    /// What the hits in it are told, in their order.
    pub hits: Vec<Hit>,
}

/// What a realm makes one hit's site of.
#[derive(Clone)]
pub struct Hit {
    /// The probe's slot, …
    pub slot: u32,
    /// … the index of its gate, …
    pub word: u32,
    /// … whether it captures, …
    pub captures: bool,
    /// … and what it measures ([`crate::hit_code::metric_code`]).
    pub metric: u32,
    /// A function expression, evaluated once.
    pub setup: String,
    /// Its place, as a stack would show it.
    pub frame: StackFrame,
}

struct Realm {
    waker: Waker,
    waiting: Vec<(u32, Order)>,
    /// Orders that it has taken and not answered.
    taken: HashMap<u32, Order>,
    /// Probes, by their slots, whose hooks are to go until their next token (true), or to come back.
    rests: BTreeMap<u32, bool>,
}

/// Threads that have opened their realm, until who started them knows it.
static OPENED: Mutex<BTreeSet<u32>> = Mutex::new(BTreeSet::new());

static REALMS: Mutex<BTreeMap<u32, Realm>> = Mutex::new(BTreeMap::new());
static NEXT: AtomicU32 = AtomicU32::new(0);

fn realms() -> MutexGuard<'static, BTreeMap<u32, Realm>> {
    REALMS.lock().unwrap_or_else(PoisonError::into_inner)
}

fn opened() -> MutexGuard<'static, BTreeSet<u32>> {
    OPENED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// True once if a thread has opened its realm, though it may be gone since.
pub fn was_opened(realm: u32) -> bool {
    opened().remove(&realm)
}

/// Opens the realm of the thread that calls; `wake` is called in it when orders wait. It closes as the thread ends, and
/// `closed` is told.
pub fn open(env: Env, realm: u32, wake: &Function<'_, (), ()>, closed: fn(u32)) -> napi::Result<()> {
    let waker = wake.build_threadsafe_function::<()>().callee_handled::<false>().weak::<true>().build()?;
    opened().insert(realm);
    realms().insert(realm, Realm { waker, waiting: Vec::new(), taken: HashMap::new(), rests: BTreeMap::new() });
    env.add_env_cleanup_hook(realm, move |realm| {
        // Dropped outside of the lock.
        let gone = realms().remove(&realm);
        drop(gone);
        closed(realm);
    })?;
    Ok(())
}

/// Gives a realm an order. False if it is gone.
pub fn order(realm: u32, order: Order) -> bool {
    let mut realms = realms();
    let Some(known) = realms.get_mut(&realm) else { return false };
    // A newer order for the same function takes the place of one that nobody took.
    known.waiting.retain(|(_, other)| other.function != order.function || other.cell != order.cell);
    known.waiting.push((NEXT.fetch_add(1, Ordering::Relaxed), order));
    known.waker.call((), ThreadsafeFunctionCallMode::NonBlocking);
    true
}

/// Wakes a realm: something waits for it.
pub fn wake(realm: u32) {
    if let Some(known) = realms().get(&realm) {
        known.waker.call((), ThreadsafeFunctionCallMode::NonBlocking);
    }
}

/// Wakes all realms.
pub fn wake_all() {
    for known in realms().values() {
        known.waker.call((), ThreadsafeFunctionCallMode::NonBlocking);
    }
}

/// True if orders wait for a realm.
pub fn has_orders(realm: u32) -> bool {
    realms().get(&realm).is_some_and(|realm| !realm.waiting.is_empty())
}

/// Takes the orders that wait, in their order.
pub fn take(realm: u32) -> Vec<(u32, Order)> {
    let mut realms = realms();
    let Some(known) = realms.get_mut(&realm) else { return Vec::new() };
    let orders = std::mem::take(&mut known.waiting);
    known.taken.extend(orders.iter().cloned());
    orders
}

/// An order that a realm has taken, once it is carried out.
pub fn carried_out(realm: u32, number: u32) -> Option<Order> {
    realms().get_mut(&realm)?.taken.remove(&number)
}

/// The probes that an order that a realm has taken puts there.
pub fn probes_of(realm: u32, number: u32) -> Vec<Arc<LiveProbe>> {
    let realms = realms();
    let order = realms.get(&realm).and_then(|realm| realm.taken.get(&number));
    order.map(|order| order.uses.iter().map(|one| Arc::clone(&one.live)).collect()).unwrap_or_default()
}

/// Asks a realm to take a probe's hooks away in the next turn of its event loop, if no token has come meanwhile. Not before:
/// they come back in a turn too, and code that runs for long without one would have no hit in all that time.
pub fn rest(realm: u32, live: &LiveProbe) {
    let mut realms = realms();
    let Some(known) = realms.get_mut(&realm) else { return };
    // Under the lock: the worker gives a token before it asks for the hooks, so this is the newer wish.
    if live.is_disarmed() && known.rests.insert(live.slot, true) != Some(true) {
        known.waker.call((), ThreadsafeFunctionCallMode::NonBlocking);
    }
}

/// Asks all realms to take the hooks of probes away, or to put them back.
pub fn rest_everywhere(probes: &[Arc<LiveProbe>], rests: bool) {
    for known in realms().values_mut() {
        known.rests.extend(probes.iter().map(|live| (live.slot, rests)));
        known.waker.call((), ThreadsafeFunctionCallMode::NonBlocking);
    }
}

/// What a realm is to do with the hooks of probes that it has.
pub fn take_rests(realm: u32) -> BTreeMap<u32, bool> {
    realms().get_mut(&realm).map(|known| std::mem::take(&mut known.rests)).unwrap_or_default()
}

/// The session has ended: the slots of the next one mean other probes.
pub fn forget_rests() {
    for known in realms().values_mut() {
        known.rests.clear();
    }
}
