//! Memory that our own code takes: what has run once, as at the start, stays mapped until somebody gives it back. On neither
//! walk.

/// Gives back the memory of our library's code and constants. The system has them in its cache of files, and maps again what
/// runs next, sixteen pages at a time. Of a process that a debugger traces nothing is given back: its breakpoints stand there.
pub fn let_go() {
    #[cfg(target_os = "linux")]
    if !is_traced() {
        linux::let_go();
    }
}

#[cfg(target_os = "linux")]
fn is_traced() -> bool {
    // Where that cannot be read, nothing is known.
    let Ok(status) = std::fs::read_to_string("/proc/self/status") else { return true };
    !status.lines().any(|line| line.strip_prefix("TracerPid:").is_some_and(|pid| pid.trim() == "0"))
}

#[cfg(target_os = "linux")]
mod linux {
    use libc::{PF_W, PT_LOAD, c_int, c_void, dl_phdr_info, size_t};
    use std::slice;

    /// All libraries are gone through until ours is found: the one that this function is in.
    pub fn let_go() {
        // SAFETY: the loader calls `visit` before this returns, with what that expects; it is given no data.
        unsafe { libc::dl_iterate_phdr(Some(visit), std::ptr::null_mut()) };
    }

    /// # Safety
    /// `info` is what the loader says of a library that is loaded.
    unsafe extern "C" fn visit(info: *mut dl_phdr_info, _: size_t, _: *mut c_void) -> c_int {
        // SAFETY: the loader's, which lives and has so many segments until this returns.
        let (base, segments) = unsafe {
            let info = &*info;
            (info.dlpi_addr as usize, slice::from_raw_parts(info.dlpi_phdr, usize::from(info.dlpi_phnum)))
        };
        let loaded = || segments.iter().filter(|segment| segment.p_type == PT_LOAD);
        let begin = |segment: &libc::Elf64_Phdr| base + segment.p_vaddr as usize;
        let here = let_go as *const () as usize;
        if !loaded().any(|segment| (begin(segment)..begin(segment) + segment.p_memsz as usize).contains(&here)) {
            return 0;
        }
        // What was ever written is the process's own, such as addresses that the loader has put in.
        for segment in loaded().filter(|segment| segment.p_flags & PF_W == 0) {
            give_back(begin(segment), begin(segment) + segment.p_memsz as usize);
        }
        1
    }

    fn give_back(begin: usize, end: usize) {
        let page = rustix::param::page_size();
        // A page that only begins or ends here may be of the next segment, too.
        let (begin, end) = (begin.next_multiple_of(page), end / page * page);
        if begin < end {
            // SAFETY: whole pages of a segment of this library that nothing can write: they are as they are in its file, and
            // the system reads them from there again. The library is never unloaded, since this function is in it.
            unsafe { libc::madvise(begin as *mut c_void, end - begin, libc::MADV_DONTNEED) };
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    /// Kilobytes of a program's code that are in memory, by what the system says of its memory.
    fn code(maps: &str, program: &str) -> u64 {
        let begins = maps.lines().position(|line| line.contains(" r-xp ") && line.ends_with(program));
        let size = maps.lines().skip(begins.unwrap_or(usize::MAX)).find_map(|line| line.strip_prefix("Rss:"));
        size.and_then(|size| size.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
    }

    #[test]
    fn what_does_not_run_is_given_back_and_comes_again() {
        let program = std::env::current_exe().unwrap();
        let now = || code(&std::fs::read_to_string("/proc/self/smaps").unwrap(), program.to_str().unwrap());
        let before = now();
        super::let_go();
        let after = now();
        assert!(0 < after && after < before, "{before} kB before, {after} kB after");
    }
}
