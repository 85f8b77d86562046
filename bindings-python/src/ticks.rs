//! The clock of hits: where the kernel takes its own time from the processor's counter, durations are taken from it as well.
//! Before both walks; [`crate::session`] asks.

use std::sync::Arc;
use stroboscope_core::clock::{Clock, SystemClock};

/// The clock of a session.
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub fn clock() -> Arc<dyn Clock> {
    use stroboscope_core::clock::CountingClock;
    // The kernel watches the counter, and names another source once it does not trust it.
    let source = std::fs::read_to_string("/sys/devices/system/clocksource/clocksource0/current_clocksource");
    if source.is_ok_and(|source| source.trim() == "tsc") {
        Arc::new(CountingClock::new(ticks))
    } else {
        Arc::new(SystemClock)
    }
}

/// See above.
#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
pub fn clock() -> Arc<dyn Clock> {
    Arc::new(SystemClock)
}

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
fn ticks() -> u64 {
    // SAFETY: every processor of this architecture has the instruction; it reads a counter and changes nothing. A kernel that
    // forbids it does not read its own time from it.
    unsafe { std::arch::x86_64::_rdtsc() }
}
