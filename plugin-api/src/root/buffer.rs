//! A buffer of the host into which a plugin writes, so that an encoded state need not be copied out of the image's memory.
//! The host makes a [`Buffer`] and lends it as a [`BufferAbi`]; the plugin writes through a [`Writer`], and asks the host
//! for more room when it runs out.

#[cfg(not(target_arch = "wasm32"))]
use abi_stable::StableAbi;
use std::{
    io,
    mem::{self, ManuallyDrop},
};

/// The parts of a `Vec<u8>` of the side that made it.
#[repr(C)]
#[cfg_attr(not(target_arch = "wasm32"), derive(StableAbi))]
pub struct BufferAbi {
    data: *mut u8,
    len: usize,
    capacity: usize,
    grow: unsafe extern "C" fn(buffer: &mut BufferAbi, additional: usize),
}

/// The side that owns the memory.
pub struct Buffer(BufferAbi);

impl Buffer {
    /// An empty buffer with this capacity.
    pub fn with_capacity(capacity: usize) -> Self {
        Vec::with_capacity(capacity).into()
    }

    /// The form that is lent to the plugin.
    pub fn as_abi(&mut self) -> &mut BufferAbi {
        &mut self.0
    }

    /// What was written.
    pub fn into_vec(self) -> Vec<u8> {
        let mut buffer = ManuallyDrop::new(self);
        // SAFETY: the parts come from `From<Vec<u8>>` or `grow` of this copy of the crate, `len` grows only over bytes that were
        // written, and the buffer is not used again: it is not dropped either.
        unsafe { take(&mut buffer.0) }
    }
}

impl From<Vec<u8>> for Buffer {
    fn from(bytes: Vec<u8>) -> Self {
        let mut bytes = ManuallyDrop::new(bytes);
        Self(BufferAbi {
            data: bytes.as_mut_ptr(),
            len: bytes.len(),
            capacity: bytes.capacity(),
            grow,
        })
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        // SAFETY: as in `into_vec`; this is the last use.
        drop(unsafe { take(&mut self.0) });
    }
}

/// Puts the vector together again and leaves an empty one, which owns no memory.
///
/// # Safety
/// The parts must be those of a `Vec<u8>` of this copy of the crate.
unsafe fn take(buffer: &mut BufferAbi) -> Vec<u8> {
    let capacity = mem::take(&mut buffer.capacity);
    let len = mem::take(&mut buffer.len);
    let data = mem::replace(&mut buffer.data, std::ptr::dangling_mut());
    // SAFETY: the caller's promise.
    unsafe { Vec::from_raw_parts(data, len, capacity) }
}

/// Makes room, amortised like a vector. It runs on the side that owns the memory, also if the other side calls it.
///
/// # Safety
/// `buffer` must be of a [`Buffer`] of this copy of the crate.
unsafe extern "C" fn grow(buffer: &mut BufferAbi, additional: usize) {
    // SAFETY: the caller's promise. Should the growth fail, the process ends: nothing unwinds out of an `extern "C"` function.
    let mut bytes = unsafe { take(buffer) };
    bytes.reserve(additional);
    let mut bytes = ManuallyDrop::new(bytes);
    buffer.data = bytes.as_mut_ptr();
    buffer.len = bytes.len();
    buffer.capacity = bytes.capacity();
}

/// Writes at the end of a buffer of the other side, which holds what was written when this is dropped.
///
/// serde writes a state in pieces of one to nine bytes. So the writer keeps the position of the next piece. If it read the
/// position from the buffer each time, encoding would take twice as long.
pub struct Writer<'a> {
    buffer: &'a mut BufferAbi,
    next: *mut u8,
    end: *mut u8,
}

impl<'a> Writer<'a> {
    /// Begins after the present content of the buffer.
    pub fn new(buffer: &'a mut BufferAbi) -> Self {
        let mut writer = Self {
            next: buffer.data,
            end: buffer.data,
            buffer,
        };
        writer.find_room();
        writer
    }

    /// Finds the unused part of the buffer.
    fn find_room(&mut self) {
        let BufferAbi { data, len, capacity, .. } = *self.buffer;
        // SAFETY: both lie within the buffer's memory, or at its end.
        (self.next, self.end) = unsafe { (data.add(len), data.add(capacity)) };
    }

    /// Updates the buffer's length.
    fn settle(&mut self) {
        self.buffer.len = self.next.addr() - self.buffer.data.addr();
    }

    /// The number of bytes in the buffer.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.next.addr() - self.buffer.data.addr()
    }

    /// The content from this position on.
    pub(crate) fn written_from(&self, at: usize) -> &[u8] {
        let len = self.len() - at;
        // SAFETY: all bytes before `next` were written, and nobody else has the buffer as long as this is borrowed.
        unsafe { std::slice::from_raw_parts(self.buffer.data.add(at), len) }
    }

    /// Replaces the content from `at` to `to` by these bytes. The content after `to` is moved.
    pub(crate) fn replace(&mut self, at: usize, to: usize, bytes: &[u8]) {
        assert!(at <= to && to <= self.len(), "within what was written");
        let following = self.len() - to;
        if bytes.len() > to - at && bytes.len() - (to - at) > self.end.addr() - self.next.addr() {
            self.grow(bytes.len() - (to - at));
        }
        // SAFETY: the range lies within what was written, there is room for what is added, and nobody else has the buffer
        // meanwhile, so that `bytes` are not in it. Where the moved bytes overlap their old place, `copy` allows it.
        unsafe {
            let place = self.buffer.data.add(at);
            std::ptr::copy(self.buffer.data.add(to), place.add(bytes.len()), following);
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), place, bytes.len());
            self.next = place.add(bytes.len() + following);
        }
    }

    #[inline]
    pub(crate) fn put(&mut self, bytes: &[u8]) {
        if bytes.len() > self.end.addr() - self.next.addr() {
            self.grow(bytes.len());
        }
        // SAFETY: there is room for them between the two, and nobody else has the buffer meanwhile: it is lent by `&mut`, so the
        // bytes are not in it.
        unsafe {
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.next, bytes.len());
            self.next = self.next.add(bytes.len());
        }
    }

    #[cold]
    #[inline(never)]
    fn grow(&mut self, additional: usize) {
        self.settle();
        // SAFETY: the function came with the buffer, from the side that made it.
        unsafe { (self.buffer.grow)(self.buffer, additional) };
        self.find_room();
    }
}

impl Drop for Writer<'_> {
    fn drop(&mut self) {
        self.settle();
    }
}

impl io::Write for Writer<'_> {
    #[inline]
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.put(bytes);
        Ok(bytes.len())
    }

    #[inline]
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.put(bytes);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use io::Write;

    fn written(mut buffer: Buffer, pieces: &[&[u8]]) -> Buffer {
        let mut writer = Writer::new(buffer.as_abi());
        pieces
            .iter()
            .for_each(|piece| writer.write_all(piece).expect("writing to memory does not fail"));
        drop(writer);
        buffer
    }

    #[test]
    fn bytes_that_fit_are_written_in_place() {
        let mut buffer = Buffer::with_capacity(16);
        let data = buffer.as_abi().data;
        let bytes = written(buffer, &[b"state", b"", b" and more"]).into_vec();
        assert_eq!(bytes, b"state and more");
        assert_eq!(bytes.as_ptr(), data.cast_const(), "nothing was moved");
    }

    #[test]
    fn buffer_grows_by_more_than_the_request() {
        let numbers: Vec<u8> = (0..=255).cycle().take(100_000).collect();
        let mut buffer = Buffer::with_capacity(0);
        let mut moves = 0;
        for number in &numbers {
            let before = buffer.as_abi().capacity;
            buffer = written(buffer, &[&[*number]]);
            moves += usize::from(buffer.as_abi().capacity != before);
        }
        assert!(moves < 40, "{moves} times for 100000 bytes");
        assert_eq!(buffer.into_vec(), numbers);
    }

    #[test]
    fn one_piece_may_be_larger_than_anything_before() {
        let large = vec![7; 1 << 20];
        let bytes = written(Buffer::with_capacity(4), &[b"abc", &large, b"d"]).into_vec();
        assert_eq!(
            (bytes.len(), &bytes[..4], bytes.last()),
            (large.len() + 4, &b"abc\x07"[..], Some(&b'd'))
        );
    }

    #[test]
    fn a_part_is_replaced_by_a_longer_and_by_a_shorter_one() {
        let mut buffer = Buffer::from(b"head ".to_vec());
        let mut writer = Writer::new(buffer.as_abi());
        writer.write_all(b"?tail").expect("writing to memory does not fail");
        writer.replace(5, 6, b"a longer one and its ");
        assert_eq!(writer.written_from(5), b"a longer one and its tail");
        writer.replace(0, 14, b"the ");
        writer.write_all(b"!").expect("writing to memory does not fail");
        drop(writer);
        assert_eq!(buffer.into_vec(), b"the one and its tail!");
    }

    #[test]
    fn contents_of_a_vector_are_kept() {
        let buffer = Buffer::from(b"begun ".to_vec());
        assert_eq!(written(buffer, &[b"and ended"]).into_vec(), b"begun and ended");
    }

    #[test]
    fn dropped_buffers_are_freed() {
        // So many gigabytes are more addresses than a process has, so that one leak too many ends the test.
        for _ in 0..70_000 {
            drop(written(Buffer::with_capacity(2 << 30), &[b"some"]));
            drop(Buffer::with_capacity(0));
        }
    }
}
