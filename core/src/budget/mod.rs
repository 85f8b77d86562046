//! How often a probe may fire, and what it may cost.

pub mod breaker;
pub mod gate;
pub mod placing;
pub mod throttle;
