//! Plain values as bytes: the only place where bytes of a message become values of a plain type, and values become bytes.

use super::Crossing;
use std::{mem::MaybeUninit, ptr, slice};

/// The bytes are no value of their type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Invalid;

/// The bytes as an array. Their number must be `N`.
#[inline]
pub fn to_array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut array = [0; N];
    array.copy_from_slice(bytes);
    array
}

/// The bytes of a plain value, with padding as zeros. `room` must have its size.
#[inline]
pub(super) fn put<T: Crossing>(value: &T, room: &mut [u8]) {
    if T::IS_POD {
        room.copy_from_slice(bytes_of(slice::from_ref(value)));
    } else {
        room.fill(0);
        value.put_bytes(room);
    }
}

/// The bytes of plain values, with padding as zeros. `room` must have their size.
#[inline]
pub(super) fn put_all<T: Crossing>(values: &[T], room: &mut [u8]) {
    if T::IS_POD {
        room.copy_from_slice(bytes_of(values));
    } else {
        room.fill(0);
        for (value, room) in values.iter().zip(room.chunks_exact_mut(size_of::<T>().max(1))) {
            value.put_bytes(room);
        }
    }
}

/// Only for types with `IS_POD`.
#[inline]
fn bytes_of<T: Crossing>(values: &[T]) -> &[u8] {
    const { assert!(T::IS_POD || size_of::<T>() > 0, "a type without bytes is `IS_POD`") };
    debug_assert!(T::IS_POD);
    // SAFETY: such a type has no padding, so each byte is initialised; the values are borrowed as long as the bytes.
    unsafe { slice::from_raw_parts(values.as_ptr().cast::<u8>(), size_of_val(values)) }
}

/// The value with these bytes, which must be of its size.
#[inline]
pub(super) fn value<T: Crossing>(bytes: &[u8]) -> Result<T, Invalid> {
    check(bytes.len() == size_of::<T>())?;
    T::valid_bytes(bytes)?;
    // SAFETY: there are as many bytes as the type has, and `valid_bytes` has found a value in them; padding may be anything. A
    // `Crossing` type has no pointers and nothing to drop, so a copy of it is a value.
    Ok(unsafe { bytes.as_ptr().cast::<T>().read_unaligned() })
}

/// Checks that `bytes` are `len` values.
#[inline]
pub(super) fn valid_all<T: Crossing>(bytes: &[u8], len: usize) -> Result<(), Invalid> {
    check(Some(bytes.len()) == len.checked_mul(size_of::<T>()))?;
    if !T::IS_POD {
        for value in bytes.chunks_exact(size_of::<T>().max(1)) {
            T::valid_bytes(value)?;
        }
    }
    Ok(())
}

/// These values where they lie, if they are aligned there.
#[inline]
pub(super) fn borrow_all<T: Crossing>(bytes: &[u8], len: usize) -> Result<Option<&[T]>, Invalid> {
    valid_all::<T>(bytes, len)?;
    if !bytes.as_ptr().cast::<T>().is_aligned() {
        return Ok(None);
    }
    // SAFETY: there are bytes for `len` values, `valid_all` has found values in them, and they are aligned. A `Crossing` type
    // has no cells, so nobody changes them while they are borrowed.
    Ok(Some(unsafe { slice::from_raw_parts(bytes.as_ptr().cast::<T>(), len) }))
}

/// Copies of these values.
#[inline]
pub(super) fn copy_all<T: Crossing>(bytes: &[u8], len: usize) -> Result<Vec<T>, Invalid> {
    valid_all::<T>(bytes, len)?;
    let mut values = Vec::<T>::with_capacity(len);
    // SAFETY: there is room for `len` values, `valid_all` has found as many in the bytes, and a copy of a `Crossing` value is a
    // value. The vector is new, so the two do not overlap.
    unsafe {
        ptr::copy_nonoverlapping(bytes.as_ptr(), values.as_mut_ptr().cast::<u8>(), bytes.len());
        values.set_len(len);
    }
    Ok(values)
}

/// Overwrites the values by those with these bytes, which must be as many and [valid](valid_all).
///
/// # Safety
/// `valid_all` must have found as many values of this type in the bytes.
#[inline]
pub(super) unsafe fn overwrite<T: Crossing>(values: &mut [T], bytes: &[u8]) {
    let room = values.as_mut_ptr().cast::<MaybeUninit<u8>>();
    let len = bytes.len().min(size_of_val(values));
    // SAFETY: at most the size of the values is written, and these are values of the type, as the caller promises. They have
    // nothing to drop.
    unsafe { ptr::copy_nonoverlapping(bytes.as_ptr().cast::<MaybeUninit<u8>>(), room, len) };
}

#[inline]
fn check(is_so: bool) -> Result<(), Invalid> {
    if is_so { Ok(()) } else { Err(Invalid) }
}
