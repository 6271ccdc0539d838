//! Values into the bytes of a message. The same code first measures and then writes, so that a transport can give a buffer of
//! the right size, also one that belongs to the other side.

use super::{Crossing, bytes};
use crate::marshal::error::MarshalError;

/// Measures a message, or writes it.
pub struct Encoder<'a> {
    at: usize,
    out: Option<&'a mut [u8]>,
    lent: Option<&'a dyn Handles>,
}

/// The objects that are lent in the call whose request is encoded.
pub(crate) trait Handles {
    /// The handle of the object with this index, and the number of functions of its table.
    fn handle(&self, index: usize) -> Option<(u64, usize)>;
}

impl<'a> Encoder<'a> {
    /// It only measures.
    pub(crate) fn measure(lent: Option<&'a dyn Handles>) -> Self {
        Self { at: 0, out: None, lent }
    }

    /// It writes into `out`.
    pub(crate) fn write(out: &'a mut [u8], lent: Option<&'a dyn Handles>) -> Self {
        Self {
            at: 0,
            out: Some(out),
            lent,
        }
    }

    /// The bytes so far.
    pub(crate) fn len(&self) -> usize {
        self.at
    }

    /// Zeros up to a multiple of `align`, then the room for `len` bytes; none if it only measures.
    #[inline]
    fn room(&mut self, align: usize, len: usize) -> Result<Option<&mut [u8]>, MarshalError> {
        let begin = self.at;
        let start = begin.checked_next_multiple_of(align);
        let end = start.and_then(|start| start.checked_add(len));
        let (Some(start), Some(end)) = (start, end.filter(|end| u32::try_from(*end).is_ok())) else {
            return Err(MarshalError::TooLong { len: len as u64 });
        };
        self.at = end;
        let Some(out) = &mut self.out else { return Ok(None) };
        let room = out
            .get_mut(begin..end)
            .ok_or(MarshalError::BufferSize { needed: end as u64 })?;
        let (filler, room) = room.split_at_mut(start - begin);
        filler.fill(0);
        Ok(Some(room))
    }

    /// A plain value.
    #[inline]
    pub fn value<T: Crossing>(&mut self, value: &T) -> Result<(), MarshalError> {
        if let Some(room) = self.room(align_of::<T>(), size_of::<T>())? {
            bytes::put(value, room);
        }
        Ok(())
    }

    /// Plain values, without their number.
    #[inline]
    pub fn values<T: Crossing>(&mut self, values: &[T]) -> Result<(), MarshalError> {
        if size_of::<T>() == 0 {
            // Otherwise a length of 2^32 would cost the sender nothing, and the decoder 2^32 iterations.
            if let Some(room) = self.room(1, values.len())? {
                room.fill(0);
            }
        } else if let Some(room) = self.room(align_of::<T>(), size_of_val(values))? {
            bytes::put_all(values, room);
        }
        Ok(())
    }

    /// A number of elements.
    #[inline]
    pub fn count(&mut self, len: usize) -> Result<(), MarshalError> {
        let len = u32::try_from(len).map_err(|_| MarshalError::TooLong { len: len as u64 })?;
        self.value(&len)
    }

    /// A slice of plain values.
    #[inline]
    pub fn slice<T: Crossing>(&mut self, values: &[T]) -> Result<(), MarshalError> {
        self.count(values.len())?;
        self.values(values)
    }

    /// A text.
    #[inline]
    pub fn text(&mut self, text: &str) -> Result<(), MarshalError> {
        self.slice(text.as_bytes())
    }

    /// The handle of the call's lent object with this index.
    pub fn lent(&mut self, index: usize) -> Result<(), MarshalError> {
        let too_long = MarshalError::TooLong { len: index as u64 };
        let (handle, functions) = self.lent.and_then(|frame| frame.handle(index)).ok_or(too_long)?;
        self.value(&handle)?;
        self.count(functions)
    }
}
