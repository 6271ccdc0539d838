//! Memory for messages, aligned as their content needs it. It is used again for later messages.

use crate::{guest::pack, interface::ReplyBuffer};

/// The alignment of a message.
#[derive(Clone, Copy)]
#[repr(C, align(16))]
struct Block([u8; 16]);

/// A message, or room for one.
#[derive(Default)]
pub(super) struct Message {
    blocks: Vec<Block>,
    len: usize,
}

impl Message {
    pub(super) const fn new() -> Self {
        Self {
            blocks: Vec::new(),
            len: 0,
        }
    }

    /// Makes room for so many bytes; false if there is no memory for them.
    pub(super) fn reserve(&mut self, len: usize) -> bool {
        let blocks = len.div_ceil(size_of::<Block>());
        if blocks > self.blocks.len() {
            if self.blocks.try_reserve(blocks - self.blocks.len()).is_err() {
                return false;
            }
            self.blocks.resize(blocks, Block([0; 16]));
        }
        true
    }

    pub(super) fn capacity(&self) -> usize {
        self.blocks.len() * size_of::<Block>()
    }

    pub(super) fn as_ptr(&self) -> *const u8 {
        match self.blocks.is_empty() {
            // A result has a code in the lowest bits of an address, so this is none that is dangling.
            true => std::ptr::null(),
            false => self.blocks.as_ptr().cast(),
        }
    }

    pub(super) fn as_mut_ptr(&mut self) -> *mut u8 {
        self.blocks.as_mut_ptr().cast()
    }

    /// The first `len` bytes, if there are so many.
    pub(super) fn bytes(&self, len: usize) -> Option<&[u8]> {
        // SAFETY: blocks are plain bytes without padding, and the slice covers only them.
        let all = unsafe { std::slice::from_raw_parts(self.blocks.as_ptr().cast::<u8>(), self.capacity()) };
        all.get(..len)
    }

    /// The message as the result of an export, which is valid until the message is changed.
    pub(super) fn result(&self, code: u32) -> u64 {
        pack(code, self.as_ptr().addr() as u32, self.len as u32)
    }

    /// Makes it empty.
    pub(super) fn clear(&mut self) {
        self.len = 0;
    }

    /// Replaces the content; false if there is no memory for it.
    pub(super) fn set(&mut self, content: &[u8]) -> bool {
        self.room(content.len()).map(|room| room.copy_from_slice(content)).is_some()
    }
}

impl ReplyBuffer for Message {
    fn room(&mut self, len: usize) -> Option<&mut [u8]> {
        if !self.reserve(len) {
            return None;
        }
        self.len = len;
        // SAFETY: as in `bytes`; there is room for `len`.
        Some(unsafe { std::slice::from_raw_parts_mut(self.blocks.as_mut_ptr().cast(), len) })
    }
}
