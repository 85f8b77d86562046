//! stub
use crate::emit::event::Event;
pub const EVENT_BYTES: usize = 1_044_480;
pub fn prune(_e: &mut Event, _l: usize) -> bool {
    true
}
