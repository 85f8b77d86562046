//! How much a command can tell the program that it becomes: that goes through one word of the environment, for whose length the
//! system has a limit. Before both walks.

/// What the session of the program adds to the word, for processes below it.
const FOR_THE_SESSION: usize = 1024;
/// Pages of memory that a word may fill (`MAX_ARG_STRLEN` of Linux).
const PAGES: usize = 32;

/// Why a word of this many bytes is too long, and what to do; `None` if it is not. `each` is what a byte that was typed takes of it.
pub fn lack(bytes: usize, each: usize) -> Option<String> {
    let room = PAGES * rustix::param::page_size() - FOR_THE_SESSION;
    let over = bytes.checked_sub(room).filter(|&over| over > 0)?;
    Some(format!(
        "what is typed or read from a pipe is too long for the system by {} KiB; write the probes to a file, and name it with \
         --probes",
        over.div_ceil(1024 * each)
    ))
}

#[cfg(test)]
mod tests {
    use super::lack;

    #[test]
    fn what_has_room_is_not_too_long() {
        let room = 32 * rustix::param::page_size() - 1024;
        assert_eq!(lack(0, 1), None);
        assert_eq!(lack(room, 1), None);
        for (over, each, told) in [(1, 1, 1), (1024, 1, 1), (1025, 1, 2), (2048, 2, 1), (2049, 2, 2)] {
            let text = lack(room + over, each).unwrap_or_default();
            assert!(text.contains(&format!("too long for the system by {told} KiB;")), "{over} {each}: {text}");
        }
    }
}
