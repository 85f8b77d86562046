//! The thread that finds the code of probes and writes its variants: it may take its time. The core's worker asks, realms
//! are told. On the walk of a configuration going in, after [`crate::runtime`].

use crate::placing::Ticketed;
use crate::{cache, guard, placing, symbols, units};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender, TryRecvError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use stroboscope_core::host::Ticket;
use stroboscope_core::registry::LiveProbe;
use stroboscope_process::pages;

/// Without work for so long, the memory is given back that only the work has needed.
const QUIET: Duration = Duration::from_millis(250);

/// What the hands do.
pub enum Task {
    /// Puts a probe where it belongs.
    Place(Arc<LiveProbe>, Ticket),
    /// Reads what a unit was compiled of, and places the probes that mean that.
    Read(u32),
    /// Watches for the end of what others do.
    Watch,
    /// Tells of modules that are loaded and were not told of yet.
    Symbols,
    /// Takes a probe away, by its slot.
    Remove(u32),
    /// Takes all probes away, and ends.
    Leave,
}

/// The way to the thread of the session that runs.
static CURRENT: Mutex<Option<Sender<Task>>> = Mutex::new(None);

fn current() -> MutexGuard<'static, Option<Sender<Task>>> {
    CURRENT.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Asks the hands of the session that runs. Where none does, the next one finds what is to be done.
pub fn ask(task: Task) {
    if let Some(tasks) = &*current() {
        // A thread that has ended leaves it to the next one.
        let _ = tasks.send(task);
    }
}

/// Others have worked since the hands looked last.
static BUSY: AtomicBool = AtomicBool::new(false);

/// A realm loads a module, or hits are over: the hands clean up behind them.
pub fn watch() {
    if !BUSY.swap(true, Ordering::Relaxed) {
        ask(Task::Watch);
    }
}

/// The way to the thread.
pub struct Hands {
    tasks: Sender<Task>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Hands {
    /// Starts the thread.
    ///
    /// # Errors
    /// The system's, if it gives no thread.
    pub fn start() -> std::io::Result<Hands> {
        symbols::forget();
        let (tasks, orders) = mpsc::channel();
        *current() = Some(tasks.clone());
        #[allow(clippy::disallowed_methods, reason = "the core's worker must not wait while a module is read")]
        let thread = std::thread::Builder::new()
            .name("stroboscope-hands".to_owned())
            .stack_size(8 << 20)
            .spawn(move || work(&orders))?;
        Ok(Hands { tasks, thread: Mutex::new(Some(thread)) })
    }

    /// Asks for something.
    pub fn ask(&self, task: Task) {
        // The thread ends with the session, which asks for nothing more then.
        let _ = self.tasks.send(task);
    }

    /// Takes all probes away and ends the thread.
    pub fn stop(&self) {
        self.ask(Task::Leave);
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            log::error!(target: "stroboscope", "the thread that places probes ended by a panic");
        }
    }
}

fn work(tasks: &Receiver<Task>) {
    while let Some(task) = next(tasks) {
        let mut changes = Changes::default();
        let mut other = changes.take(task);
        while other.is_none()
            && let Ok(task) = tasks.try_recv()
        {
            other = changes.take(task);
        }
        careful(|| changes.make());
        let Some(other) = other else { continue };
        careful(|| match other {
            Task::Read(unit) => placing::read_origins(unit),
            Task::Leave => {
                placing::remove_all();
                while cache::write_one() {}
            }
            Task::Symbols => symbols::begin(),
            Task::Watch | Task::Place(..) | Task::Remove(_) => {}
        });
        if matches!(other, Task::Leave) {
            return;
        }
    }
}

fn careful(work: impl FnOnce()) {
    if guard::caught(work).is_none() {
        log::error!(target: "stroboscope", "our own code failed as it placed a probe; please report it");
    }
}

/// What is asked for together is done together: each module is read once, and each function written once.
#[derive(Default)]
struct Changes {
    leave: Vec<u32>,
    come: Vec<Ticketed>,
}

impl Changes {
    /// One more of them. Answers what is none.
    fn take(&mut self, task: Task) -> Option<Task> {
        match task {
            Task::Place(live, ticket) => self.come.push((live, ticket)),
            Task::Remove(slot) => {
                self.come.retain(|(live, _)| live.slot != slot);
                self.leave.push(slot);
            }
            other => return Some(other),
        }
        None
    }

    fn make(self) {
        if !self.leave.is_empty() {
            placing::remove(&self.leave);
        }
        if !self.come.is_empty() {
            placing::place(&self.come);
        }
    }
}

/// The next task; `None` if nobody can ask for one. What can wait is done when there is none, and between two bursts of work memory
/// is given back.
fn next(tasks: &Receiver<Task>) -> Option<Task> {
    loop {
        match tasks.try_recv() {
            Ok(task) => return Some(task),
            Err(TryRecvError::Disconnected) => return None,
            Err(TryRecvError::Empty) if guard::caught(cache::write_one) == Some(true) => continue,
            Err(TryRecvError::Empty) => {}
        }
        let rest = symbols::rest();
        match tasks.recv_timeout(rest.unwrap_or(QUIET)) {
            Ok(task) => return Some(task),
            Err(RecvTimeoutError::Disconnected) => return None,
            Err(RecvTimeoutError::Timeout) if rest.is_some() => careful(symbols::tell_one),
            Err(RecvTimeoutError::Timeout) if BUSY.swap(false, Ordering::Relaxed) => {}
            Err(RecvTimeoutError::Timeout) => {
                units::forget_modules();
                pages::let_go();
                return tasks.recv().ok();
            }
        }
    }
}
