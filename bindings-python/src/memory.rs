//! Memory of ours that is large: what waits for an upload, and what is made of it. It is taken from the system and given back
//! to it at once, since the program's own allocator keeps what it got: after a burst the program would stay larger.

use std::alloc::{GlobalAlloc, Layout, System};
use std::ptr;

/// From so many bytes on memory is the system's. In a hit only what grows for a larger record than ever reaches it.
const LARGE: usize = 64 * 1024;
/// The system's memory begins at a multiple of this, on all of them.
const PAGE: usize = 4096;

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

// SAFETY: each pointer comes from one of two allocators, and which one is told by its layout alone, so that it goes back to
// where it came from. Both give memory of the size and alignment asked for, or null, and none of them unwinds.
unsafe impl GlobalAlloc for Memory {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if is_large(layout.size(), layout.align()) {
            return map(layout.size());
        }
        // SAFETY: the caller's promise about the layout is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if is_large(layout.size(), layout.align()) {
            return map(layout.size());
        }
        // SAFETY: the caller's promise about the layout is passed on.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        if is_large(layout.size(), layout.align()) {
            // SAFETY: by the caller's promise `place` came from `alloc` with this layout: it is a mapping of this size, and
            // nobody uses it any more. An error would leave it mapped, and there is nobody to tell.
            unsafe { libc::munmap(place.cast(), layout.size()) };
            return;
        }
        // SAFETY: by the caller's promise it came from `alloc` with this layout, which asked the system's allocator.
        unsafe { System.dealloc(place, layout) }
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let (was, is) = (is_large(layout.size(), layout.align()), is_large(size, layout.align()));
        if !was && !is {
            // SAFETY: as in `dealloc`, and the caller's promise about the size is passed on.
            return unsafe { System.realloc(place, layout, size) };
        }
        if was && is {
            // SAFETY: as in `dealloc`, `place` is a mapping of this size. It moves as a whole, and only the new place is used.
            let moved = unsafe { libc::mremap(place.cast(), layout.size(), size, libc::MREMAP_MAYMOVE) };
            return if moved == libc::MAP_FAILED { ptr::null_mut() } else { moved.cast() };
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
