//! Which names and types are secrets.
