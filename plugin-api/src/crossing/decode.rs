//! Bytes of a message into values, each after it was checked.

use super::{Crossing, bytes};
use crate::marshal::error::MarshalError;
use std::{marker::PhantomData, ops::Deref};

/// A `Vec` may need so many times the memory of the message that it comes in.
const MAX_GROWTH: usize = 64;
/// A `Vec` of so many bytes is always accepted.
const ALWAYS_ALLOWED: usize = 1 << 20;

/// Reads a message from its start to its end.
pub struct Decoder<'a> {
    message: &'a [u8],
    at: usize,
}

impl<'a> Decoder<'a> {
    /// Reads this message.
    #[must_use]
    pub fn new(message: &'a [u8]) -> Self {
        Self { message, at: 0 }
    }

    /// The bytes of the next `len` values of `size` bytes, and where they begin.
    #[inline]
    fn take(&mut self, align: usize, size: usize, len: usize) -> Result<(usize, &'a [u8]), MarshalError> {
        let start = self.at.checked_next_multiple_of(align);
        let bytes = len.checked_mul(size);
        let end = start.zip(bytes).and_then(|(start, bytes)| start.checked_add(bytes));
        let found = start
            .zip(end)
            .and_then(|(start, end)| Some((start, end, self.message.get(start..end)?)));
        match found {
            Some((start, end, found)) => {
                self.at = end;
                Ok((start, found))
            }
            None if len == 1 => Err(MarshalError::Truncated {
                at: self.at as u64,
                needed: size as u64,
            }),
            None => Err(MarshalError::Length {
                at: self.at as u64,
                claimed: len as u64,
            }),
        }
    }

    /// A plain value.
    #[inline]
    pub fn value<T: Crossing>(&mut self) -> Result<T, MarshalError> {
        let (at, bytes) = self.take(align_of::<T>(), size_of::<T>(), 1)?;
        bytes::value(bytes).map_err(|_| invalid::<T>(at))
    }

    /// A number of elements. Each of them has at least `least` bytes, or one, so the message tells whether there can be so many.
    #[inline]
    pub fn count(&mut self, least: usize) -> Result<usize, MarshalError> {
        let len = self.value::<u32>()?;
        let most = self.message.len().saturating_sub(self.at) / least.max(1);
        match usize::try_from(len) {
            Ok(len) if len <= most => Ok(len),
            _ => Err(MarshalError::Length {
                at: self.at as u64,
                claimed: len.into(),
            }),
        }
    }

    /// Refuses elements that would need much more memory than the message has, such as many `None`s of a large type.
    pub(super) fn check_growth(&self, len: usize, size: usize) -> Result<(), MarshalError> {
        let most = self.message.len().saturating_mul(MAX_GROWTH).max(ALWAYS_ALLOWED);
        match len.checked_mul(size) {
            Some(bytes) if bytes <= most => Ok(()),
            _ => Err(MarshalError::Length {
                at: self.at as u64,
                claimed: len as u64,
            }),
        }
    }

    /// The bytes of so many plain values. In the message, an element without bytes has one.
    #[inline]
    fn take_values<T: Crossing>(&mut self, len: usize) -> Result<(usize, &'a [u8]), MarshalError> {
        if size_of::<T>() == 0 {
            let (at, _) = self.take(1, 1, len)?;
            return Ok((at, &[]));
        }
        self.take(align_of::<T>(), size_of::<T>(), len)
    }

    /// So many plain values.
    #[inline]
    pub fn values<T: Crossing>(&mut self, len: usize) -> Result<Vec<T>, MarshalError> {
        let (at, bytes) = self.take_values::<T>(len)?;
        bytes::copy_all(bytes, len).map_err(|_| invalid::<T>(at))
    }

    /// A slice of plain values, where it lies if it is aligned there.
    #[inline]
    pub fn slice<T: Crossing>(&mut self) -> Result<DecodedSlice<'a, T>, MarshalError> {
        let len = self.count(size_of::<T>())?;
        let (at, bytes) = self.take_values::<T>(len)?;
        match bytes::borrow_all(bytes, len).map_err(|_| invalid::<T>(at))? {
            Some(values) => Ok(DecodedSlice::InPlace(values)),
            None => bytes::copy_all(bytes, len)
                .map(DecodedSlice::Copied)
                .map_err(|_| invalid::<T>(at)),
        }
    }

    /// A slice of plain values, copied, so that it can be changed.
    #[inline]
    pub fn slice_mut<T: Crossing>(&mut self) -> Result<Vec<T>, MarshalError> {
        let len = self.count(size_of::<T>())?;
        self.values(len)
    }

    /// The new values of a slice that was sent with `sent` elements.
    #[inline]
    pub fn new_values<T: Crossing>(&mut self, sent: usize) -> Result<NewValues<'a, T>, MarshalError> {
        let len = self.count(size_of::<T>())?;
        if len != sent {
            return Err(MarshalError::OtherLength {
                sent: sent as u64,
                found: len as u64,
            });
        }
        let (at, bytes) = self.take_values::<T>(len)?;
        bytes::valid_all::<T>(bytes, len).map_err(|_| invalid::<T>(at))?;
        Ok(NewValues { bytes, of: PhantomData })
    }

    /// A text.
    #[inline]
    pub fn text(&mut self) -> Result<&'a str, MarshalError> {
        let len = self.count(1)?;
        let (at, bytes) = self.take(1, 1, len)?;
        str::from_utf8(bytes).map_err(|_| MarshalError::Utf8 { at: at as u64 })
    }

    /// Which of two forms follows: 0 or 1.
    #[inline]
    pub fn tag(&mut self) -> Result<bool, MarshalError> {
        let at = self.at as u64;
        match self.value::<u8>()? {
            0 => Ok(false),
            1 => Ok(true),
            found => Err(MarshalError::Tag { at, found }),
        }
    }

    /// Checks that the message ends here.
    #[inline]
    pub fn finish(&self) -> Result<(), MarshalError> {
        match self.at == self.message.len() {
            true => Ok(()),
            false => Err(MarshalError::Trailing { at: self.at as u64 }),
        }
    }
}

#[cold]
fn invalid<T: Crossing>(at: usize) -> MarshalError {
    MarshalError::Value {
        at: at as u64,
        of: T::DESCRIPTION.name,
    }
}

/// A slice of a message.
pub enum DecodedSlice<'a, T> {
    /// In the message itself.
    InPlace(&'a [T]),
    /// Copied, because the message is not aligned for it.
    Copied(Vec<T>),
}

impl<T> Deref for DecodedSlice<'_, T> {
    type Target = [T];

    #[inline]
    fn deref(&self) -> &[T] {
        match self {
            Self::InPlace(values) => values,
            Self::Copied(values) => values,
        }
    }
}

/// The checked new values of a `&mut` slice.
pub struct NewValues<'a, T> {
    bytes: &'a [u8],
    of: PhantomData<T>,
}

impl<T: Crossing> NewValues<'_, T> {
    /// Overwrites the caller's slice, which has the length that was given to [`Decoder::new_values`].
    #[inline]
    pub fn copy_to(self, values: &mut [T]) {
        // SAFETY: `Decoder::new_values` has found valid values in the bytes.
        unsafe { bytes::overwrite(values, self.bytes) };
    }
}
