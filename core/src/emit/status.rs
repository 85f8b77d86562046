//! The status board: what became of each probe, and what the Agent is told about it. On the walk of a configuration
//! going in it is the end: the worker reports here what hosts and hits did, and hands what changed to `control/*`.
//!
//! The board keeps no clock and does no I/O. Wall time, in milliseconds since the epoch, is passed in for the statuses;
//! monotonic time, in nanoseconds, decides when all of them are repeated.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use serde::Serialize;

/// The most changes that wait to be drained. If nobody drains, the oldest are dropped: the latest status of each probe
/// stays on the board, and the next repetition tells it.
const MAX_WAITING: usize = 8192;

/// A pause for its cost, as `exception.type`.
pub const CPU_BUDGET: &str = "CpuBudget";
/// The type of exception of a place that nothing has matched for a while.
pub const NOT_FOUND: &str = "SourceFileNotFound";

/// A panic of ours, as `exception.type`.
pub const PANIC: &str = "Panic";

/// A definition that is broken, as `exception.type`.
pub const INVALID_DEFINITION: &str = "InvalidDefinition";

/// The status of a probe on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Status {
    /// The definition is accepted.
    Received,
    /// The hook is in place.
    Installed,
    /// It has produced its first result.
    Emitting,
    /// It cannot be installed, is broken, paused, or stopped by a panic of ours.
    Error,
    /// It must not be installed.
    Blocked,
}

impl Status {
    /// The name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Status::Received => "RECEIVED",
            Status::Installed => "INSTALLED",
            Status::Emitting => "EMITTING",
            Status::Error => "ERROR",
            Status::Blocked => "BLOCKED",
        }
    }
}

/// The state of a probe for people: a status, or what the wire has no word for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// The definition is accepted.
    Received,
    /// Its code is not loaded yet.
    Waiting,
    /// The hook is in place.
    Installed,
    /// It has produced its first result.
    Emitting,
    /// It costs too much and rests.
    Paused,
    /// It cannot be installed, is broken, or was stopped by a panic of ours.
    Error,
    /// It must not be installed.
    Blocked,
    /// Its time is over.
    Expired,
}

impl State {
    /// The word for people.
    pub fn name(self) -> &'static str {
        match self {
            State::Received => "received",
            State::Waiting => "waiting",
            State::Installed => "installed",
            State::Emitting => "emitting",
            State::Paused => "paused",
            State::Error => "error",
            State::Blocked => "blocked",
            State::Expired => "expired",
        }
    }
}

/// Why a probe has the status ERROR.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Exception {
    /// A short, stable word: `NoSuchLine`.
    #[serde(rename = "type")]
    pub kind: String,
    /// A sentence for people.
    pub message: String,
}

/// A status to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusChange {
    /// The probe's id.
    pub id: String,
    /// The probe's version.
    pub version: i64,
    /// The status.
    pub status: Status,
    /// A sentence for people.
    pub message: String,
    /// Of an ERROR, why.
    pub exception: Option<Exception>,
    /// Milliseconds since the epoch.
    pub timestamp: u64,
}

/// Who tells it.
#[derive(Clone, Copy, Debug)]
pub struct Identity<'a> {
    /// The service.
    pub service: &'a str,
    /// The UUID of this process.
    pub runtime_id: &'a str,
    /// The UUID of the process it was forked from.
    pub parent_id: Option<&'a str>,
}

/// What the board knows of a probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The probe's version.
    pub version: i64,
    /// Its state.
    pub state: State,
    /// What the wire says: the last status that was told, a pause or a wait included.
    pub status: Status,
    /// A sentence for people.
    pub message: String,
    /// Of an ERROR, why.
    pub exception: Option<Exception>,
    /// Milliseconds since the epoch of the last change.
    pub since: u64,
    /// It has emitted, before a pause or at another place perhaps.
    emitted: bool,
    /// What was told since the definition arrived, or since the last error ended: a status and its exception's type.
    told: BTreeSet<(Status, String)>,
}

/// The statuses of all probes.
#[derive(Debug)]
pub struct Board {
    entries: HashMap<String, Entry>,
    /// Ids in the order of arrival.
    order: Vec<String>,
    changes: VecDeque<StatusChange>,
    interval: u64,
    next_repeat: Option<u64>,
}

impl Board {
    /// A board that repeats all statuses every `interval`.
    pub fn new(interval: Duration) -> Board {
        let interval = u64::try_from(interval.as_nanos()).unwrap_or(u64::MAX).max(1);
        Board { entries: HashMap::new(), order: Vec::new(), changes: VecDeque::new(), interval, next_repeat: None }
    }

    /// A definition arrived. The same version again is nothing new; another version begins anew.
    pub fn received(&mut self, id: &str, version: i64, now: u64) {
        match self.entries.get(id) {
            Some(entry) if entry.version == version => return,
            Some(_) => {}
            None => self.order.push(id.to_owned()),
        }
        let entry = Entry {
            version,
            state: State::Received,
            status: Status::Received,
            message: String::new(),
            exception: None,
            since: now,
            emitted: false,
            told: BTreeSet::new(),
        };
        self.entries.insert(id.to_owned(), entry);
        self.tell(id, version, State::Received, Status::Received, format!("Probe {id} is received"), None, now);
    }

    /// A definition that can be used arrived in the version of a broken one: what was told of that counts no more.
    pub fn mended(&mut self, id: &str, version: i64, now: u64) {
        let Some(entry) = self.entry(id, version).filter(|entry| entry.state == State::Error) else { return };
        entry.told.clear();
        entry.state = State::Received;
        self.tell(id, version, State::Received, Status::Received, format!("Probe {id} is received"), None, now);
    }

    /// The code is not loaded yet; `what` says what is waited for. The wire goes on saying RECEIVED, or the error if
    /// one was reported.
    pub fn waiting(&mut self, id: &str, version: i64, what: &str, now: u64) {
        let Some(entry) = self.entry(id, version) else { return };
        if matches!(entry.state, State::Received | State::Waiting) {
            what.clone_into(&mut entry.message);
            entry.state = State::Waiting;
            entry.since = now;
        }
    }

    /// The hook is in place. `place` says where, and names the line that is used if it is another one.
    pub fn installed(&mut self, id: &str, version: i64, place: &str, now: u64) {
        let Some(entry) = self.entry(id, version) else { return };
        match entry.state {
            // Installed once more (a reload, a further realm): it emits all the same, or rests all the same.
            State::Emitting | State::Paused | State::Blocked | State::Expired => return,
            State::Error => entry.told.clear(),
            State::Received | State::Waiting | State::Installed => {}
        }
        let message = if place.is_empty() {
            format!("Probe {id} is installed")
        } else {
            format!("Probe {id} is installed: {place}")
        };
        self.tell(id, version, State::Installed, Status::Installed, message, None, now);
    }

    /// The hook has moved to a place that is meant more exactly. INSTALLED counts as new, and so does EMITTING with the
    /// next event; a probe that rests goes on resting.
    pub fn moved(&mut self, id: &str, version: i64, place: &str, now: u64) {
        let Some(entry) = self.entry(id, version) else { return };
        if matches!(entry.state, State::Installed | State::Emitting) {
            entry.told.clear();
            entry.state = State::Received;
        }
        self.installed(id, version, place, now);
    }

    /// It has produced a result; the first one counts. Cheap enough to be called for every event.
    pub fn emitting(&mut self, id: &str, version: i64, now: u64) {
        let Some(state) = self.entry(id, version).map(|entry| entry.state) else { return };
        match state {
            State::Installed => {}
            // The hit was quicker than the report of the installation.
            State::Received | State::Waiting => self.installed(id, version, "", now),
            // An event from before the pause, the error or the end.
            State::Emitting | State::Paused | State::Error | State::Blocked | State::Expired => return,
        }
        let before = self.entry(id, version).is_some_and(|entry| std::mem::replace(&mut entry.emitted, true));
        let message =
            if before { format!("Probe {id} emits again") } else { format!("Probe {id} has emitted its first event") };
        self.tell(id, version, State::Emitting, Status::Emitting, message, None, now);
    }

    /// It cannot be installed, is broken, or was stopped. `kind` is a short, stable word, `message` says what a person
    /// can do.
    pub fn error(&mut self, id: &str, version: i64, kind: &str, message: &str, now: u64) {
        self.fail(id, version, State::Error, kind, message, now);
    }

    /// It must not be installed.
    pub fn blocked(&mut self, id: &str, version: i64, reason: &str, now: u64) {
        let message = format!("Probe {id} is blocked: {reason}");
        self.tell(id, version, State::Blocked, Status::Blocked, message, None, now);
    }

    /// It may be installed after all: what was told counts no more.
    pub fn allowed(&mut self, id: &str, version: i64, now: u64) {
        let Some(entry) = self.entry(id, version).filter(|entry| entry.state == State::Blocked) else { return };
        entry.told.clear();
        entry.state = State::Received;
        let message = format!("Probe {id} is received: the service denies its code no more");
        self.tell(id, version, State::Received, Status::Received, message, None, now);
    }

    /// It costs too much and rests; `message` has the numbers.
    pub fn paused(&mut self, id: &str, version: i64, message: &str, now: u64) {
        match self.entry(id, version).map(|entry| entry.state) {
            Some(State::Installed | State::Emitting) => {}
            _ => return,
        }
        self.fail(id, version, State::Paused, CPU_BUDGET, message, now);
    }

    /// The pause is over: INSTALLED counts as new, and so does EMITTING with the next event.
    pub fn resumed(&mut self, id: &str, version: i64, now: u64) {
        let Some(entry) = self.entry(id, version).filter(|entry| entry.state == State::Paused) else { return };
        entry.told.clear();
        let message = format!("Probe {id} is installed again after a pause");
        self.tell(id, version, State::Installed, Status::Installed, message, None, now);
    }

    /// Its time is over. Nothing is sent, now or later; people go on seeing it.
    pub fn expired(&mut self, id: &str, version: i64, now: u64) {
        let Some(entry) = self.entry(id, version) else { return };
        entry.state = State::Expired;
        "its time is over (expiresAt)".clone_into(&mut entry.message);
        entry.exception = None;
        entry.since = now;
    }

    /// It was taken away: nothing is sent, and it is forgotten.
    pub fn removed(&mut self, id: &str) {
        if self.entries.remove(id).is_some() {
            self.order.retain(|other| other != id);
        }
    }

    /// Repeats all statuses if the interval is over. The first call begins the first interval.
    pub fn tick(&mut self, monotonic: u64, now: u64) {
        let due = *self.next_repeat.get_or_insert_with(|| monotonic.saturating_add(self.interval));
        if monotonic >= due {
            self.next_repeat = Some(monotonic.saturating_add(self.interval));
            self.repeat(now);
        }
    }

    /// Repeats the current status of every probe, with a new timestamp: after a loss, or as the interval is over.
    pub fn repeat(&mut self, now: u64) {
        let all = self.order.iter().filter_map(|id| Some((id, self.entries.get(id)?)));
        let again: Vec<StatusChange> = all
            .filter(|(_, entry)| entry.state != State::Expired)
            // What waits to be told anyway is not told twice.
            .filter(|(id, entry)| !self.changes.iter().any(|change| is_same(change, id, entry)))
            .map(|(id, entry)| StatusChange {
                id: id.clone(),
                version: entry.version,
                status: entry.status,
                message: entry.message.clone(),
                exception: entry.exception.clone(),
                timestamp: now,
            })
            .collect();
        for change in again {
            self.push(change);
        }
    }

    /// Takes what is to be told, oldest first.
    pub fn drain_changes(&mut self) -> Vec<StatusChange> {
        self.changes.drain(..).collect()
    }

    /// What the board knows of a probe.
    pub fn get(&self, id: &str) -> Option<&Entry> {
        self.entries.get(id)
    }

    /// All probes, in the order of arrival.
    pub fn all(&self) -> impl Iterator<Item = (&str, &Entry)> {
        self.order.iter().filter_map(|id| Some((id.as_str(), self.entries.get(id)?)))
    }

    /// The entry, if it is of this version: what is said of another one comes too late.
    fn entry(&mut self, id: &str, version: i64) -> Option<&mut Entry> {
        self.entries.get_mut(id).filter(|entry| entry.version == version)
    }

    fn fail(&mut self, id: &str, version: i64, state: State, kind: &str, message: &str, now: u64) {
        let exception = Exception { kind: kind.to_owned(), message: message.to_owned() };
        let sentence = format!("Probe {id} has failed: {message}");
        let sentence = if state == State::Paused { format!("Probe {id} is paused: {message}") } else { sentence };
        self.tell(id, version, state, Status::Error, sentence, Some(exception), now);
    }

    #[allow(clippy::too_many_arguments, reason = "one status, written down in one place")]
    fn tell(
        &mut self,
        id: &str,
        version: i64,
        state: State,
        status: Status,
        message: String,
        exception: Option<Exception>,
        now: u64,
    ) {
        let Some(entry) = self.entry(id, version) else { return };
        // The end of a probe's story, until a new version arrives.
        if matches!(entry.state, State::Expired | State::Blocked) {
            return;
        }
        let kind = exception.as_ref().map(|exception| exception.kind.clone()).unwrap_or_default();
        entry.state = state;
        entry.status = status;
        entry.message.clone_from(&message);
        entry.exception.clone_from(&exception);
        entry.since = now;
        if entry.told.insert((status, kind)) {
            self.push(StatusChange { id: id.to_owned(), version, status, message, exception, timestamp: now });
        }
    }

    fn push(&mut self, change: StatusChange) {
        if self.changes.len() == MAX_WAITING {
            self.changes.pop_front();
        }
        self.changes.push_back(change);
    }
}

/// True if a change says what the board says.
fn is_same(change: &StatusChange, id: &str, entry: &Entry) -> bool {
    let kind = |exception: &Option<Exception>| exception.as_ref().map(|exception| exception.kind.clone());
    change.id == id
        && (change.version, change.status) == (entry.version, entry.status)
        && kind(&change.exception) == kind(&entry.exception)
}

#[derive(Serialize)]
struct Envelope<'a> {
    ddsource: &'a str,
    service: &'a str,
    timestamp: u64,
    message: &'a str,
    #[serde(rename = "type")]
    kind: &'a str,
    debugger: Debugger<'a>,
}

#[derive(Serialize)]
struct Debugger<'a> {
    diagnostics: Diagnostics<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Diagnostics<'a> {
    probe_id: &'a str,
    probe_version: i64,
    runtime_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent_id: Option<&'a str>,
    status: Status,
    #[serde(skip_serializing_if = "Option::is_none")]
    exception: Option<&'a Exception>,
}

impl StatusChange {
    /// The status as it goes to the Agent: one JSON object without line ends.
    pub fn json(&self, identity: &Identity<'_>) -> Vec<u8> {
        let envelope = Envelope {
            ddsource: "dd_debugger",
            service: identity.service,
            timestamp: self.timestamp,
            message: &self.message,
            kind: "diagnostic",
            debugger: Debugger {
                diagnostics: Diagnostics {
                    probe_id: &self.id,
                    probe_version: self.version,
                    runtime_id: identity.runtime_id,
                    parent_id: identity.parent_id,
                    status: self.status,
                    exception: self.exception.as_ref(),
                },
            },
        };
        // Texts and numbers only: writing them into memory cannot fail.
        serde_json::to_vec(&envelope).unwrap_or_default()
    }
}

/// The body of a batch of statuses: a JSON array.
pub fn payload(changes: &[StatusChange], identity: &Identity<'_>) -> Vec<u8> {
    let mut body = vec![b'['];
    for (index, change) in changes.iter().enumerate() {
        if index > 0 {
            body.push(b',');
        }
        body.extend(change.json(identity));
    }
    body.push(b']');
    body
}

#[cfg(test)]
mod tests {
    use super::{Board, Identity, MAX_WAITING, State, Status, payload};
    use std::time::Duration;

    fn board() -> Board {
        Board::new(Duration::from_secs(3600))
    }

    #[test]
    fn the_payload_has_the_shape_of_the_specification() {
        let mut board = board();
        board.received("p", 3, 1_790_000_000_000);
        board.error("p", 3, "NoSuchLine", "no executable code at line 9", 1_790_000_000_001);
        let identity = Identity { service: "shop", runtime_id: "r", parent_id: None };
        let changes = board.drain_changes();
        let body = String::from_utf8(payload(&changes, &identity)).unwrap();
        assert_eq!(
            body,
            concat!(
                r#"[{"ddsource":"dd_debugger","service":"shop","timestamp":1790000000000,"message":"Probe p is received","#,
                r#""type":"diagnostic","debugger":{"diagnostics":{"probeId":"p","probeVersion":3,"runtimeId":"r","#,
                r#""status":"RECEIVED"}}},{"ddsource":"dd_debugger","service":"shop","timestamp":1790000000001,"#,
                r#""message":"Probe p has failed: no executable code at line 9","type":"diagnostic","#,
                r#""debugger":{"diagnostics":{"probeId":"p","probeVersion":3,"runtimeId":"r","status":"ERROR","#,
                r#""exception":{"type":"NoSuchLine","message":"no executable code at line 9"}}}}]"#
            )
        );
        let child = Identity { parent_id: Some("q"), ..identity };
        assert!(String::from_utf8(payload(&changes, &child)).unwrap().contains(r#""runtimeId":"r","parentId":"q","#));
        assert_eq!(payload(&[], &child), b"[]");
    }

    #[test]
    fn what_nobody_drains_is_bounded_and_healed_by_the_repetition() {
        let mut board = board();
        for number in 0..MAX_WAITING + 10 {
            board.received(&format!("p{number}"), 0, 1);
        }
        assert_eq!(board.drain_changes().len(), MAX_WAITING);
        board.repeat(2);
        let again = board.drain_changes();
        assert_eq!(again.len(), MAX_WAITING);
        assert!(again.iter().all(|change| change.timestamp == 2 && change.status == Status::Received));
    }

    #[test]
    fn an_expired_probe_is_shown_and_never_told() {
        let mut board = board();
        board.received("p", 0, 1);
        board.drain_changes();
        board.expired("p", 0, 2);
        board.installed("p", 0, "", 3);
        board.error("p", 0, "X", "late", 3);
        board.repeat(4);
        assert!(board.drain_changes().is_empty());
        assert_eq!(board.get("p").map(|entry| entry.state), Some(State::Expired));
        board.removed("p");
        assert_eq!(board.all().count(), 0);
    }
}
