//! Own counters: hits, emitted, dropped by reason, sampled nanoseconds.
