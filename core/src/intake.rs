//! Where a finished record of an outside host comes in. The record is untrusted input.
