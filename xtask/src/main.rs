//! The project's own tasks: `cargo run -p xtask -- TASK`. One file per task.

fn main() {}
