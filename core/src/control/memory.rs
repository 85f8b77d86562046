//! Keeps what leaves in memory, for tests. On the walk of a hit going out, at its end; before it `worker.rs`.

use std::sync::{Arc, Mutex, PoisonError};

use super::{EventView, MetricView, Sink, SpanView, StatusView};

/// What a [`MemorySink`] has kept; a handle on it that outlives the session.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    kept: Arc<Mutex<Kept>>,
}

#[derive(Debug, Default)]
struct Kept {
    events: Vec<String>,
    metrics: Vec<String>,
    spans: Vec<String>,
    statuses: Vec<String>,
}

impl Memory {
    /// An empty memory.
    pub fn new() -> Self {
        Memory::default()
    }

    /// A sink that keeps into this memory.
    pub fn sink(&self) -> MemorySink {
        MemorySink { memory: self.clone() }
    }

    /// The events so far, as JSON.
    pub fn events(&self) -> Vec<String> {
        self.with(|kept| kept.events.clone())
    }

    /// What was measured so far, as JSON.
    pub fn metrics(&self) -> Vec<String> {
        self.with(|kept| kept.metrics.clone())
    }

    /// The spans of ours so far, as JSON.
    pub fn spans(&self) -> Vec<String> {
        self.with(|kept| kept.spans.clone())
    }

    /// The statuses so far, as JSON.
    pub fn statuses(&self) -> Vec<String> {
        self.with(|kept| kept.statuses.clone())
    }

    /// Forgets all.
    pub fn clear(&self) {
        self.with(|kept| *kept = Kept::default());
    }

    fn with<T>(&self, work: impl FnOnce(&mut Kept) -> T) -> T {
        work(&mut self.kept.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Keeps events, metrics, spans and statuses in a [`Memory`].
#[derive(Debug)]
pub struct MemorySink {
    memory: Memory,
}

impl Sink for MemorySink {
    fn event(&mut self, event: &EventView<'_>) {
        let json = String::from_utf8_lossy(event.json).into_owned();
        self.memory.with(|kept| kept.events.push(json));
    }

    fn metric(&mut self, metric: &MetricView<'_>) {
        let json = String::from_utf8_lossy(metric.json).into_owned();
        self.memory.with(|kept| kept.metrics.push(json));
    }

    fn span(&mut self, span: &SpanView<'_>) {
        let json = String::from_utf8_lossy(span.json).into_owned();
        self.memory.with(|kept| kept.spans.push(json));
    }

    fn status(&mut self, status: &StatusView<'_>) {
        let json = String::from_utf8_lossy(status.json).into_owned();
        self.memory.with(|kept| kept.statuses.push(json));
    }

    fn flush(&mut self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_went_in_is_there() {
        let memory = Memory::new();
        let mut sink = memory.sink();
        sink.event(&EventView { json: b"{\"a\":1}", message: "", probe: "p", site: "", time: 0 });
        sink.status(&StatusView { json: b"{}", probe: "p", status: "INSTALLED", message: "", time: 0 });
        assert_eq!(memory.events(), ["{\"a\":1}"]);
        assert_eq!(memory.statuses(), ["{}"]);
        memory.clear();
        assert!(memory.events().is_empty());
    }
}
