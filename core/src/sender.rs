//! Uploads. The only file that does network I/O, on a thread of its own, fed by a bounded channel.
