//! The bytes of a record, or of an event's JSON, while they are written. It stands on the walk of a hit, under
//! [`super::write`] and `emit/json.rs`.
//!
//! The memory is there already, so that a value is written with one check: [`Buffer::write`] lends a piece of fixed size,
//! into which its parts are put without another.

/// Memory that is there is memory that is used: what is large already does not double.
const LARGEST_STEP: usize = 512 * 1024;

/// Bytes that are written from front to back.
#[derive(Debug, Default)]
pub(crate) struct Buffer {
    /// All of it may be written to; what stands behind `at` means nothing.
    memory: Vec<u8>,
    /// Bytes written, never more than there is memory. In 32 bits, so that adding to it cannot overflow a place.
    at: u32,
}

impl Buffer {
    /// An empty one with so much memory.
    pub(crate) fn new(memory: usize) -> Self {
        Buffer { memory: vec![0; memory], at: 0 }
    }

    /// Bytes written.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.at as usize
    }

    /// What was written.
    #[inline]
    pub(crate) fn bytes(&self) -> &[u8] {
        self.memory.get(..self.len()).unwrap_or_default()
    }

    /// What was written from a place on.
    #[inline]
    pub(crate) fn since(&self, start: usize) -> &[u8] {
        self.memory.get(start..self.len()).unwrap_or_default()
    }

    /// What was written, in its own memory.
    pub(crate) fn into_bytes(mut self) -> Vec<u8> {
        self.memory.truncate(self.at as usize);
        self.memory
    }

    /// The byte that was written last.
    #[inline]
    pub(crate) fn last(&self) -> Option<u8> {
        self.memory.get(self.len().checked_sub(1)?).copied()
    }

    /// Forgets what was written, and memory beyond `most`: one large record must not hold its own for ever.
    #[inline]
    pub(crate) fn clear(&mut self, most: usize) {
        self.at = 0;
        if self.memory.len() > most {
            self.memory.truncate(most);
            self.memory.shrink_to_fit();
        }
    }

    /// Forgets what was written beyond `len`.
    #[inline]
    pub(crate) fn truncate(&mut self, len: usize) {
        self.at = self.len().min(len) as u32;
    }

    /// Lends `N` bytes to `put`, of which the first `used` are written then.
    #[inline(always)]
    #[allow(clippy::inline_always, reason = "a piece is put together in registers, or it goes through memory twice")]
    pub(crate) fn write<const N: usize>(&mut self, used: usize, put: impl FnOnce(&mut [u8; N])) {
        let at = self.at as usize;
        if let Some(piece) = self.memory.get_mut(at..at + N).and_then(|piece| piece.try_into().ok()) {
            put(piece);
            self.at += used as u32;
        } else {
            self.write_grown(used, put);
        }
    }

    /// Lends `N` bytes to `put`, of which as many are written then as it answers.
    #[inline(always)]
    #[allow(clippy::inline_always, reason = "see `write`")]
    pub(crate) fn write_some<const N: usize>(&mut self, put: impl FnOnce(&mut [u8; N]) -> usize) {
        let at = self.at as usize;
        if at + N > self.memory.len() {
            self.grow(N);
        }
        if let Some(piece) = self.memory.get_mut(at..at + N).and_then(|piece| piece.try_into().ok()) {
            self.at += put(piece).min(N) as u32;
        }
    }

    #[cold]
    #[inline(never)]
    fn write_grown<const N: usize>(&mut self, used: usize, put: impl FnOnce(&mut [u8; N])) {
        self.grow(N);
        let at = self.at as usize;
        if let Some(piece) = self.memory.get_mut(at..at + N).and_then(|piece| piece.try_into().ok()) {
            put(piece);
            self.at += used as u32;
        }
    }

    /// Writes a number of `N` bytes, or an array.
    #[inline(always)]
    #[allow(clippy::inline_always, reason = "see `write`")]
    pub(crate) fn put<const N: usize>(&mut self, bytes: [u8; N]) {
        self.write(N, move |piece: &mut [u8; N]| *piece = bytes);
    }

    /// Writes bytes of any number.
    #[inline]
    pub(crate) fn extend(&mut self, bytes: &[u8]) {
        if let Some(piece) = self.room(bytes.len()) {
            piece.copy_from_slice(bytes);
            self.at += bytes.len() as u32;
        }
    }

    /// Writes numbers of `N` bytes each.
    pub(crate) fn numbers<const N: usize>(&mut self, numbers: impl ExactSizeIterator<Item = [u8; N]>) {
        let wanted = numbers.len().saturating_mul(N);
        if let Some(piece) = self.room(wanted) {
            for (place, number) in piece.chunks_exact_mut(N).zip(numbers) {
                place.copy_from_slice(&number);
            }
            self.at += wanted as u32;
        }
    }

    /// The next bytes, so many. `None` only if there can be no such record: their end has no place in 32 bits.
    #[inline]
    fn room(&mut self, wanted: usize) -> Option<&mut [u8]> {
        let end = u32::try_from(wanted).ok().and_then(|wanted| self.at.checked_add(wanted))? as usize;
        if end > self.memory.len() {
            self.grow(wanted);
        }
        self.memory.get_mut(self.at as usize..end)
    }

    /// Puts bytes, of any number, where some were written before.
    #[inline]
    pub(crate) fn patch_all(&mut self, at: usize, bytes: &[u8]) {
        if let Some(place) = self.memory.get_mut(at..at + bytes.len()) {
            place.copy_from_slice(bytes);
        }
    }

    /// Puts bytes where some were written before.
    #[inline]
    pub(crate) fn patch<const N: usize>(&mut self, at: usize, bytes: [u8; N]) {
        if let Some(place) = self.memory.get_mut(at..).and_then(<[u8]>::first_chunk_mut) {
            *place = bytes;
        }
    }

    #[cold]
    #[inline(never)]
    fn grow(&mut self, more: usize) {
        let step = self.memory.len().min(LARGEST_STEP);
        let wanted = (self.len() + more).max(self.memory.len() + step);
        self.memory.resize(wanted, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::Buffer;

    #[test]
    fn what_is_written_is_what_is_read_however_often_it_grows() {
        let mut buffer = Buffer::new(4);
        let mut expected = Vec::new();
        for n in 0..200_u8 {
            buffer.put([n, 1]);
            buffer.extend(&vec![n; usize::from(n)]);
            buffer.write::<16>(3, |piece| piece.fill(n));
            buffer.numbers([n; 5].iter().map(|n| u16::from(*n).to_le_bytes()));
            expected.extend([n, 1]);
            expected.resize(expected.len() + usize::from(n) + 3, n);
            expected.extend([n, 0].repeat(5));
        }
        assert_eq!(buffer.bytes(), expected);
        buffer.patch(1, [7, 8]);
        assert_eq!(buffer.bytes().get(..4), Some(&[0, 7, 8, 0][..]));
        buffer.truncate(2);
        assert_eq!((buffer.len(), buffer.bytes()), (2, &[0, 7][..]));
        buffer.write_some::<700>(|piece| {
            piece.fill(9);
            3
        });
        buffer.patch_all(1, &[5, 6, 4]);
        assert_eq!((buffer.since(1), buffer.last()), (&[5, 6, 4, 9][..], Some(9)));
        buffer.truncate(0);
        assert_eq!((buffer.since(1), buffer.last()), (&[][..], None));
    }

    #[test]
    fn memory_of_a_large_record_is_given_back() {
        let mut buffer = Buffer::new(4);
        buffer.extend(&[1; 1000]);
        buffer.clear(100);
        assert_eq!((buffer.len(), buffer.memory.capacity()), (0, 100));
        buffer.extend(&[2; 200]);
        assert_eq!(buffer.bytes(), [2; 200]);
    }
}
