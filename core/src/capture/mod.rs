//! What a hit reads of the host: limits, redaction, the bounded walk.

pub mod limits;
pub mod redact;
pub mod strict;
pub mod walk;
