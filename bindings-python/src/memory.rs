//! Memory of ours. Large pieces (what waits for an upload, and what is made of it) are taken from the system and given back
//! to it at once, since the program's own allocator keeps what it got: after a burst the program would stay larger.
//!
//! A program may run out of memory and go on, with a `MemoryError`; Rust ends the process where it gets none. So threads of
//! ours wait until there is some, and a thread of the program gets what was put aside. From then on hits are dropped until
//! as much can be put aside again.

use pyo3::ffi;
use std::alloc::{GlobalAlloc, Layout, System};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering};
use std::time::Duration;

/// From so many bytes on memory is the system's. In a hit only what grows for a larger record than ever reaches it.
const LARGE: usize = 64 * 1024;
/// The system's memory begins at a multiple of this, on all of them.
const PAGE: usize = 4096;

/// What is put aside. It has addresses only until somebody needs it.
const RESERVE: usize = 1024 * 1024;
/// Nobody who asks for more waits for it.
const MOST_AWAITED: usize = 64 * 1024 * 1024;
/// How long a thread of ours waits before it asks again.
const NAP: Duration = Duration::from_millis(5);

static ASIDE: AtomicPtr<u8> = AtomicPtr::new(ptr::null_mut());
static SHORT: AtomicBool = AtomicBool::new(false);

/// Puts memory aside, if nothing is.
pub fn put_aside() {
    let place = map(RESERVE);
    SHORT.store(place.is_null(), Ordering::Relaxed);
    if !place.is_null() && ASIDE.compare_exchange(ptr::null_mut(), place, Ordering::Relaxed, Ordering::Relaxed).is_err()
    {
        unmap(place, RESERVE);
    }
}

/// True if there was too little memory, and still is.
#[inline]
pub fn is_short() -> bool {
    SHORT.load(Ordering::Relaxed) && is_still_short()
}

#[cold]
fn is_still_short() -> bool {
    put_aside();
    SHORT.load(Ordering::Relaxed)
}

/// Asks for memory, and again where there is none.
#[inline]
fn got(size: usize, ask: impl Fn() -> *mut u8) -> *mut u8 {
    let place = ask();
    if place.is_null() { await_memory(size, ask) } else { place }
}

#[cold]
fn await_memory(size: usize, ask: impl Fn() -> *mut u8) -> *mut u8 {
    if size > MOST_AWAITED {
        return ptr::null_mut();
    }
    SHORT.store(true, Ordering::Relaxed);
    // SAFETY: may be asked in any thread. A thread that has the GIL would keep the program waiting.
    while unsafe { ffi::PyGILState_Check() } == 0 {
        let place = ask();
        if !place.is_null() {
            return place;
        }
        std::thread::sleep(NAP);
    }
    let aside = ASIDE.swap(ptr::null_mut(), Ordering::Relaxed);
    if !aside.is_null() {
        unmap(aside, RESERVE);
    }
    ask()
}

/// The allocator of this module alone: the program and its other modules keep theirs.
struct Memory;

#[global_allocator]
static MEMORY: Memory = Memory;

fn is_large(size: usize, align: usize) -> bool {
    size >= LARGE && align <= PAGE
}

/// Fresh pages, all zero; null if there are none.
fn map(size: usize) -> *mut u8 {
    // SAFETY: a new private mapping at a place of the system's choice touches no memory that exists.
    let place = unsafe {
        libc::mmap(
            ptr::null_mut(),
            size,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    if place == libc::MAP_FAILED { ptr::null_mut() } else { place.cast() }
}

/// Gives a mapping back that nobody uses any more.
fn unmap(place: *mut u8, size: usize) {
    // SAFETY: each caller has what `map` gave, of this size, and to itself. An error would leave it mapped, and there is nobody
    // to tell.
    unsafe { libc::munmap(place.cast(), size) };
}

// SAFETY: each pointer comes from one of two allocators, and which one is told by its layout alone, so that it goes back to
// where it came from. Both give memory of the size and alignment asked for, or null, and none of them unwinds.
unsafe impl GlobalAlloc for Memory {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        got(layout.size(), || {
            if is_large(layout.size(), layout.align()) {
                return map(layout.size());
            }
            // SAFETY: the caller's promise about the layout is passed on.
            unsafe { System.alloc(layout) }
        })
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        got(layout.size(), || {
            if is_large(layout.size(), layout.align()) {
                return map(layout.size());
            }
            // SAFETY: the caller's promise about the layout is passed on.
            unsafe { System.alloc_zeroed(layout) }
        })
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        if is_large(layout.size(), layout.align()) {
            // By the caller's promise it came from `alloc` with this layout, and nobody uses it any more.
            return unmap(place, layout.size());
        }
        // SAFETY: by the caller's promise it came from `alloc` with this layout, which asked the system's allocator.
        unsafe { System.dealloc(place, layout) }
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let (was, is) = (is_large(layout.size(), layout.align()), is_large(size, layout.align()));
        if !was && !is {
            // SAFETY: as in `dealloc`, and the caller's promise about the size is passed on; one that fails changes nothing.
            return got(size, || unsafe { System.realloc(place, layout, size) });
        }
        if was && is {
            return got(size, || {
                // SAFETY: by the caller's promise `place` is a mapping of this size. It moves as a whole, and only the new
                // place is used; if that fails, it stays.
                let moved = unsafe { libc::mremap(place.cast(), layout.size(), size, libc::MREMAP_MAYMOVE) };
                if moved == libc::MAP_FAILED { ptr::null_mut() } else { moved.cast() }
            });
        }
        // SAFETY: the caller promises that `size` is above 0 and fits with this alignment.
        let new = unsafe { self.alloc(Layout::from_size_align_unchecked(size, layout.align())) };
        if !new.is_null() {
            // SAFETY: both are ours, are apart, and have at least the smaller of both sizes; then the old one is given back
            // with the layout it came with.
            unsafe {
                ptr::copy_nonoverlapping(place, new, layout.size().min(size));
                self.dealloc(place, layout);
            }
        }
        new
    }
}
