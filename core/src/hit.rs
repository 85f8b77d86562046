//! The hot path of inside hosts, one function, top to bottom.
