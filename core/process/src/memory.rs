//! Where our own memory comes from: what is large comes from the system itself and goes back to it at once. The C library would
//! keep it: what one of our threads has freed, such as the queue of a burst of hits, stays in that thread's part of its memory for
//! as long as the program runs. On neither walk.

use std::alloc::{GlobalAlloc, Layout, System};

/// What a binding whose library is its own allocates by.
pub struct Memory;

#[cfg(not(target_os = "linux"))]
// SAFETY: the system's own allocator does it all.
unsafe impl GlobalAlloc for Memory {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps the same promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the same promises.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[cfg(target_os = "linux")]
mod linux {
    use super::{GlobalAlloc, Layout, Memory, System};
    use libc::{MAP_ANONYMOUS, MAP_FAILED, MAP_PRIVATE, MREMAP_MAYMOVE, PROT_READ, PROT_WRITE, c_void};
    use std::ptr;

    /// From this size on memory is large: a few pages more or less are little of it, and so is the time that the system takes.
    const LARGE: usize = 64 * 1024;
    /// The system's pages begin at multiples of this, wherever we run.
    const PAGE: usize = 4096;

    fn is_large(size: usize, layout: Layout) -> bool {
        size >= LARGE && layout.align() <= PAGE
    }

    /// What the system answers, as allocators do.
    fn or_none(memory: *mut c_void) -> *mut u8 {
        if memory == MAP_FAILED { ptr::null_mut() } else { memory.cast() }
    }

    fn map(size: usize) -> *mut u8 {
        // SAFETY: new memory, which nobody has.
        or_none(unsafe {
            libc::mmap(ptr::null_mut(), size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
        })
    }

    // SAFETY: by its layout it is always known whose a piece of memory is. The system's pieces are whole pages, new ones are zero,
    // and the layouts that are large want no other alignment than theirs; all others are the C library's.
    unsafe impl GlobalAlloc for Memory {
        unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
            if is_large(layout.size(), layout) {
                return map(layout.size());
            }
            // SAFETY: the caller keeps the same promises.
            unsafe { System.alloc(layout) }
        }

        unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
            if is_large(layout.size(), layout) {
                return map(layout.size());
            }
            // SAFETY: the caller keeps the same promises.
            unsafe { System.alloc_zeroed(layout) }
        }

        unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
            if is_large(layout.size(), layout) {
                // SAFETY: `map` or `realloc` have made it of this size, and the caller needs it no more.
                unsafe { libc::munmap(memory.cast(), layout.size()) };
                return;
            }
            // SAFETY: the caller keeps the same promises.
            unsafe { System.dealloc(memory, layout) }
        }

        unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
            match (is_large(layout.size(), layout), is_large(size, layout)) {
                // SAFETY: the caller keeps the same promises.
                (false, false) => unsafe { System.realloc(memory, layout, size) },
                // SAFETY: it is the system's, of this size, and from now on only what this answers is used; if that is null, it
                // stays as it is.
                (true, true) => or_none(unsafe { libc::mremap(memory.cast(), layout.size(), size, MREMAP_MAYMOVE) }),
                // SAFETY: the caller promises that `size` is above 0 and is no more than a layout takes; both pieces are as long
                // as what is copied, and the old one is given back by its own layout.
                _ => unsafe {
                    let new = self.alloc(Layout::from_size_align_unchecked(size, layout.align()));
                    if !new.is_null() {
                        ptr::copy_nonoverlapping(memory, new, size.min(layout.size()));
                        self.dealloc(memory, layout);
                    }
                    new
                },
            }
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::Memory;
    use std::alloc::{GlobalAlloc, Layout};

    const KB: usize = 1024;

    /// Kilobytes of a process that are in memory, by what the system says of it.
    fn resident(statm: &str) -> usize {
        let pages = statm.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok());
        pages.unwrap_or(0) * rustix::param::page_size() / KB
    }

    #[test]
    fn what_is_in_memory_stays_as_it_grows_and_shrinks() {
        let layout = |size| Layout::from_size_align(size, 8).unwrap();
        let mut size = 5 * KB;
        // SAFETY: each piece has the size that is written and read, and is given back by its layout.
        unsafe {
            let mut memory = Memory.alloc(layout(size));
            for (at, next) in [9 * KB, 64 * KB, 64 * KB + 1, 3000 * KB, 70 * KB, 6 * KB].into_iter().enumerate() {
                memory.write_bytes(at as u8, size);
                memory = Memory.realloc(memory, layout(size), next);
                let kept = std::slice::from_raw_parts(memory, size.min(next));
                assert!(kept.iter().all(|byte| *byte == at as u8), "{size} to {next}");
                size = next;
            }
            Memory.dealloc(memory, layout(size));
        }
    }

    #[test]
    fn new_memory_is_zero_where_that_is_asked_for() {
        for size in [KB, 64 * KB, 1000 * KB] {
            let layout = Layout::from_size_align(size, 64).unwrap();
            // SAFETY: the piece has this size, and is given back by its layout.
            unsafe {
                let memory = Memory.alloc_zeroed(layout);
                assert!(std::slice::from_raw_parts(memory, size).iter().all(|byte| *byte == 0));
                Memory.dealloc(memory, layout);
            }
        }
    }

    #[test]
    fn what_is_large_goes_back_to_the_system_at_once() {
        let layout = Layout::from_size_align(64 * KB, 8).unwrap();
        let now = || resident(&std::fs::read_to_string("/proc/self/statm").unwrap());
        let pieces: Vec<*mut u8> = (0..1000)
            .map(|_| {
                // SAFETY: the piece has the size that is written.
                unsafe {
                    let piece = Memory.alloc(layout);
                    piece.write_bytes(1, layout.size());
                    piece
                }
            })
            .collect();
        let more = now();
        // The last one would keep those before it in what a C library has.
        for piece in pieces.iter().take(999) {
            // SAFETY: it is given back by its layout, once.
            unsafe { Memory.dealloc(*piece, layout) };
        }
        let less = now();
        for piece in pieces.iter().skip(999) {
            // SAFETY: it is given back by its layout, once.
            unsafe { Memory.dealloc(*piece, layout) };
        }
        assert!(less + 50_000 < more, "{more} kB, then {less} kB");
    }
}
