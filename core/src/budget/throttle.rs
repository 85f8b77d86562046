//! One error event per probe per five minutes.
