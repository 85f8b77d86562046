//! The meaning of Stroboscope's probes. Bindings only read host values and place hooks; everything that decides
//! is here, once.
//!
//! Two walks lead through this crate (`ARCHITECTURE.md` follows both):
//!
//! * a **configuration goes in**: [`control`] and [`sender`] → [`probe`] with [`expr`] → [`registry`] → [`worker`] →
//!   [`host::Runtime`] → statuses in [`emit`];
//! * a **hit goes out**: the host's hook → [`hit`] with [`budget`], [`expr`], [`capture`] → [`record`] → [`worker`] →
//!   [`emit`] → [`sender`] → [`control`].
#![forbid(unsafe_code)]

pub mod budget;
pub mod capture;
pub mod clock;
pub mod config;
pub mod control;
pub mod datagrams;
pub mod emit;
pub mod error;
pub mod explain;
pub mod expr;
pub mod fault;
pub mod guard;
pub mod hit;
pub mod host;
pub mod intake;
pub mod log_lines;
pub mod probe;
pub mod record;
pub mod registry;
pub mod sender;
pub mod session;
pub mod stats;
pub mod text;
pub mod times;
pub mod worker;
