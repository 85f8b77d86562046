//! The memory that the tree of a text is put into: one piece, of which only what is used is taken. To be given that page by page
//! takes a quarter of the time that a text takes; so it stands on large pages where the system has some. Used by `read.rs`.

use oxc_allocator::Allocator;
use std::alloc::Layout;

/// What the tree of a text takes for each byte of it, and more.
const EACH: usize = 16;
/// Of texts from this size on the tree fills a large page.
const LARGE: usize = 128 << 10;
/// A large page, on most machines.
const PAGE: usize = 2 << 20;

/// Memory for the tree of a text.
pub(crate) fn new(text: &str) -> Allocator {
    if text.len() < LARGE {
        return Allocator::with_capacity(text.len() * EACH);
    }
    let room = Allocator::with_capacity(text.len() * EACH + PAGE);
    begin(&room, text);
    room
}

/// Empties it for another tree, of about the same text.
pub(crate) fn empty(room: &mut Allocator, text: &str) {
    room.reset();
    if text.len() >= LARGE {
        begin(room, text);
    }
}

/// Has the tree begin at the end of a large page: it grows downwards.
fn begin(room: &Allocator, text: &str) {
    let bytes = |size| Layout::from_size_align(size, 1).map(|layout| room.alloc_layout(layout));
    let Ok(end) = bytes(1) else { return };
    let Ok(first) = bytes(end.addr().get() % PAGE) else { return };
    // What was asked for is left below it, but for what was lost by its alignment.
    advise(first.as_ptr(), text.len() * EACH - 64);
}

/// Asks for large pages below a place, as far as they are whole.
#[cfg(target_os = "linux")]
fn advise(end: *mut u8, size: usize) {
    let start = end.wrapping_sub(size);
    let start = start.wrapping_add(start.addr().next_multiple_of(PAGE) - start.addr());
    let size = (end.addr().saturating_sub(start.addr())) / PAGE * PAGE;
    // SAFETY: this changes nothing of what memory holds, whosever it is, nor of what may be done with it: it says of what pages it
    // is to be made. A system that has no such pages answers that, which is no news.
    let _ = unsafe { libc::madvise(start.cast(), size, libc::MADV_HUGEPAGE) };
}

#[cfg(not(target_os = "linux"))]
fn advise(_: *mut u8, _: usize) {}

#[cfg(test)]
mod tests {
    use super::{LARGE, PAGE, empty, new};

    #[test]
    fn a_tree_begins_at_the_end_of_a_page_each_time() {
        for size in [LARGE, LARGE + 1, 3 * LARGE] {
            let text = " ".repeat(size);
            let mut room = new(&text);
            for _ in 0..3 {
                let place = std::ptr::from_ref(room.alloc(1_u64)).addr();
                assert!(place.next_multiple_of(PAGE) - place <= 64, "{place:x}");
                // It is one piece.
                let before = room.capacity();
                room.alloc_slice_copy(&vec![0_u8; size * 15]);
                assert_eq!(room.capacity(), before);
                empty(&mut room, &text);
            }
        }
    }
}
