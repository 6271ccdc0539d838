//! Which types may cross the boundary between host and plugin, and how: arguments are borrowed or plain, results are copied
//! out inside the call, so that nothing can outlive the image that made it. Interfaces as arguments live in `interface`.

use crate::{
    description::{Kind, Shape, Type},
    marshal::error::MarshalError,
    std_types::{ROption, RResult, RString, RVec},
};

mod bytes;
mod decode;
mod encode;

pub use bytes::{Invalid, to_array};
pub use decode::{DecodedSlice, Decoder, NewValues};
pub use encode::Encoder;
pub(crate) use encode::Handles;

/// A plain value: fixed layout, no reference, no pointer, no function and nothing to drop in it.
///
/// Derive it; never implement it by hand. The derive accepts `#[repr(C)]` structs of `Crossing` fields and field-less enums
/// with a fixed integer representation.
///
/// # Safety
/// `DESCRIPTION` must have the exact layout, and the bytes of a value must be meaningful in any image of this process.
/// `IS_POD` may be true only if the type has no padding and every bit pattern is a value. `valid_bytes` may accept only bytes that are a value.
#[diagnostic::on_unimplemented(
    message = "`{Self}` may not cross between host and plugin",
    label = "not a `Crossing` type",
    note = "derive `Crossing` on a `#[repr(C)]` struct of numbers, bools, chars, arrays and other `Crossing` types",
    note = "as an argument use `&T`, `&mut T`, `&[T]`, `&mut [T]`, `&str`, `&dyn Interface` or `&mut dyn Interface`",
    note = "as a result use a `Crossing` type, `String`, `Vec`, `Option` or `Result` of those: they are copied out inside the call"
)]
pub unsafe trait Crossing: Send + Sync + 'static {
    /// The layout, for people and for the check.
    const DESCRIPTION: &'static Type;
    /// Whether the type has no padding, and every bit pattern is a value.
    #[doc(hidden)]
    const IS_POD: bool;
    /// Checks that the bytes, which have the type's size, are a value. Padding may be anything.
    #[doc(hidden)]
    fn valid_bytes(bytes: &[u8]) -> Result<(), Invalid>;
    /// Writes the value's bytes, without padding.
    #[doc(hidden)]
    fn put_bytes(&self, bytes: &mut [u8]);

    // What follows is called by its path in generated code, so that the compiler names the type of a method, and nothing else, if that is
    // not `Crossing`.

    #[doc(hidden)]
    #[inline]
    fn encode_value(&self, into: &mut Encoder<'_>) -> Result<(), MarshalError>
    where
        Self: Sized,
    {
        into.value(self)
    }

    #[doc(hidden)]
    #[inline]
    fn decode_value(from: &mut Decoder<'_>) -> Result<Self, MarshalError>
    where
        Self: Sized,
    {
        from.value()
    }

    #[doc(hidden)]
    #[inline]
    fn encode_slice(values: &[Self], into: &mut Encoder<'_>) -> Result<(), MarshalError>
    where
        Self: Sized,
    {
        into.slice(values)
    }

    #[doc(hidden)]
    #[inline]
    fn decode_slice<'a>(from: &mut Decoder<'a>) -> Result<DecodedSlice<'a, Self>, MarshalError>
    where
        Self: Sized,
    {
        from.slice()
    }

    #[doc(hidden)]
    #[inline]
    fn decode_slice_mut(from: &mut Decoder<'_>) -> Result<Vec<Self>, MarshalError>
    where
        Self: Sized,
    {
        from.slice_mut()
    }

    #[doc(hidden)]
    #[inline]
    fn decode_new_values<'a>(from: &mut Decoder<'a>, sent: usize) -> Result<NewValues<'a, Self>, MarshalError>
    where
        Self: Sized,
    {
        from.new_values(sent)
    }
}

// Error messages do not list these implementations, because the notes above are more helpful.

macro_rules! scalars {
    ($($scalar:ident $plain:literal $valid:expr;)*) => { $(
        // SAFETY: a scalar of the language is plain, and its size and alignment are taken from the compiler. It has no padding.
        #[diagnostic::do_not_recommend]
        unsafe impl Crossing for $scalar {
            const DESCRIPTION: &'static Type = &Type {
                name: stringify!($scalar),
                size: size_of::<$scalar>(),
                align: align_of::<$scalar>(),
                kind: Kind::Scalar,
            };
            const IS_POD: bool = $plain;

            #[inline]
            fn valid_bytes(bytes: &[u8]) -> Result<(), Invalid> {
                let valid: fn(&[u8]) -> bool = $valid;
                if valid(bytes) { Ok(()) } else { Err(Invalid) }
            }

            #[inline]
            fn put_bytes(&self, bytes: &mut [u8]) {
                bytes.copy_from_slice(&self.to_bytes());
            }
        }
    )* };
}

/// The bytes of a scalar in memory.
trait ToBytes<const N: usize> {
    fn to_bytes(&self) -> [u8; N];
}

macro_rules! to_bytes {
    ($($number:ident)*) => { $(
        impl ToBytes<{ size_of::<$number>() }> for $number {
            #[inline]
            fn to_bytes(&self) -> [u8; size_of::<$number>()] {
                self.to_ne_bytes()
            }
        }
    )* };
}

to_bytes!(u8 u16 u32 u64 usize i8 i16 i32 i64 isize f32 f64);

impl ToBytes<1> for bool {
    #[inline]
    fn to_bytes(&self) -> [u8; 1] {
        [u8::from(*self)]
    }
}

impl ToBytes<4> for char {
    #[inline]
    fn to_bytes(&self) -> [u8; 4] {
        u32::from(*self).to_ne_bytes()
    }
}

scalars! {
    u8 true |_| true;
    u16 true |_| true;
    u32 true |_| true;
    u64 true |_| true;
    usize true |_| true;
    i8 true |_| true;
    i16 true |_| true;
    i32 true |_| true;
    i64 true |_| true;
    isize true |_| true;
    f32 true |_| true;
    f64 true |_| true;
    bool false |bytes| matches!(bytes, [0 | 1]);
    char false |bytes| char::from_u32(u32::from_ne_bytes(to_array(bytes))).is_some();
}

// SAFETY: `()` has one value and no bytes.
#[diagnostic::do_not_recommend]
unsafe impl Crossing for () {
    const DESCRIPTION: &'static Type = &Type {
        name: "()",
        size: 0,
        align: 1,
        kind: Kind::Scalar,
    };
    const IS_POD: bool = true;

    #[inline]
    fn valid_bytes(_: &[u8]) -> Result<(), Invalid> {
        Ok(())
    }

    #[inline]
    fn put_bytes(&self, _: &mut [u8]) {}
}

// SAFETY: an array is its elements at multiples of their size, and each of them is plain.
#[diagnostic::do_not_recommend]
unsafe impl<T: Crossing, const N: usize> Crossing for [T; N] {
    const DESCRIPTION: &'static Type = &Type {
        name: "array",
        size: size_of::<[T; N]>(),
        align: align_of::<[T; N]>(),
        kind: Kind::Array(T::DESCRIPTION, N),
    };
    const IS_POD: bool = T::IS_POD || size_of::<[T; N]>() == 0;

    #[inline]
    fn valid_bytes(bytes: &[u8]) -> Result<(), Invalid> {
        match Self::IS_POD {
            true => Ok(()),
            false => bytes.chunks_exact(size_of::<T>().max(1)).try_for_each(T::valid_bytes),
        }
    }

    #[inline]
    fn put_bytes(&self, bytes: &mut [u8]) {
        for (value, bytes) in self.iter().zip(bytes.chunks_exact_mut(size_of::<T>().max(1))) {
            value.put_bytes(bytes);
        }
    }
}

/// A result that crosses: copied into the caller's memory inside the call, then freed by the side that made it.
///
/// Implemented for every [`Crossing`] type, `String`, and `Vec`, `Option` and `Result` of those.
///
/// # Safety
/// `copy_out` must not keep anything of the wire form: its vtables and memory belong to the image that made it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` may not be a result of an interface's method",
    label = "cannot be copied out of a plugin",
    note = "use a `Crossing` type, `String`, `Vec<T>`, `Option<T>` or `Result<T, E>` of those: they are copied out inside the call",
    note = "or answer with `&T`, `&[T]` or `&str`, bound to the borrow of the plugin"
)]
pub unsafe trait Returned: Sized {
    /// The form with a fixed layout.
    #[doc(hidden)]
    type Wire;
    /// How it crosses, for people and for the check.
    const SHAPE: Shape;
    /// Runs on the side that made the value.
    #[doc(hidden)]
    fn into_wire(self) -> Self::Wire;
    /// Runs on the side that receives the value. Afterwards the maker's destructor drops the wire form.
    ///
    /// # Safety
    /// The wire form must not be used as a value again, only dropped: a `Crossing` type need not be `Clone`.
    #[doc(hidden)]
    unsafe fn copy_out(wire: &Self::Wire) -> Self;
    /// The fewest bytes of a value in a message of [`marshal`](crate::marshal).
    #[doc(hidden)]
    const MIN_ENCODED_LEN: usize;
    /// Writes the wire form into a message.
    #[doc(hidden)]
    fn encode(wire: &Self::Wire, into: &mut Encoder<'_>) -> Result<(), MarshalError>;
    /// Reads the wire form out of a message, and checks it.
    #[doc(hidden)]
    fn decode(from: &mut Decoder<'_>) -> Result<Self::Wire, MarshalError>;
    /// Writes the elements of a `Vec`.
    #[doc(hidden)]
    #[inline]
    fn encode_all(wires: &[Self::Wire], into: &mut Encoder<'_>) -> Result<(), MarshalError> {
        wires.iter().try_for_each(|wire| Self::encode(wire, into))
    }
    /// Reads the elements of a `Vec`.
    #[doc(hidden)]
    #[inline]
    fn decode_all(len: usize, from: &mut Decoder<'_>) -> Result<Vec<Self::Wire>, MarshalError> {
        from.check_growth(len, size_of::<Self::Wire>())?;
        (0..len).map(|_| Self::decode(from)).collect()
    }
}

// SAFETY: a plain value is its bytes.
#[diagnostic::do_not_recommend]
unsafe impl<T: Crossing> Returned for T {
    type Wire = T;
    const SHAPE: Shape = Shape::Value(T::DESCRIPTION);

    #[inline(always)]
    fn into_wire(self) -> T {
        self
    }

    #[inline(always)]
    unsafe fn copy_out(wire: &T) -> T {
        // SAFETY: `Crossing` types have no drop glue and own nothing, so the bitwise copy and the original do not conflict,
        // and the original is not used as a value again, as the caller promises.
        unsafe { std::ptr::read(wire) }
    }

    const MIN_ENCODED_LEN: usize = size_of::<T>();

    #[inline]
    fn encode(wire: &T, into: &mut Encoder<'_>) -> Result<(), MarshalError> {
        into.value(wire)
    }

    #[inline]
    fn decode(from: &mut Decoder<'_>) -> Result<T, MarshalError> {
        from.value()
    }

    #[inline]
    fn encode_all(wires: &[T], into: &mut Encoder<'_>) -> Result<(), MarshalError> {
        into.values(wires)
    }

    #[inline]
    fn decode_all(len: usize, from: &mut Decoder<'_>) -> Result<Vec<T>, MarshalError> {
        from.values(len)
    }
}

// SAFETY: the text is copied; the RString goes back to its maker's destructor.
#[diagnostic::do_not_recommend]
unsafe impl Returned for String {
    type Wire = RString;
    const SHAPE: Shape = Shape::String;

    #[inline]
    fn into_wire(self) -> RString {
        self.into()
    }

    #[inline]
    unsafe fn copy_out(wire: &RString) -> Self {
        wire.as_str().to_owned()
    }

    const MIN_ENCODED_LEN: usize = size_of::<u32>();

    #[inline]
    fn encode(wire: &RString, into: &mut Encoder<'_>) -> Result<(), MarshalError> {
        into.text(wire)
    }

    #[inline]
    fn decode(from: &mut Decoder<'_>) -> Result<RString, MarshalError> {
        from.text().map(RString::from)
    }
}

// SAFETY: every element is copied out; the RVec goes back to its maker's destructor.
#[diagnostic::do_not_recommend]
unsafe impl<T: Returned> Returned for Vec<T> {
    type Wire = RVec<T::Wire>;
    const SHAPE: Shape = Shape::Vec(&T::SHAPE);

    fn into_wire(self) -> Self::Wire {
        self.into_iter().map(T::into_wire).collect::<Vec<_>>().into()
    }

    unsafe fn copy_out(wire: &Self::Wire) -> Self {
        // SAFETY: the caller's promise holds for each element.
        wire.as_slice().iter().map(|value| unsafe { T::copy_out(value) }).collect()
    }

    const MIN_ENCODED_LEN: usize = size_of::<u32>();

    #[inline]
    fn encode(wire: &Self::Wire, into: &mut Encoder<'_>) -> Result<(), MarshalError> {
        into.count(wire.len())?;
        T::encode_all(wire, into)
    }

    #[inline]
    fn decode(from: &mut Decoder<'_>) -> Result<Self::Wire, MarshalError> {
        let len = from.count(T::MIN_ENCODED_LEN)?;
        T::decode_all(len, from).map(RVec::from)
    }
}

// SAFETY: as its content.
#[diagnostic::do_not_recommend]
unsafe impl<T: Returned> Returned for Option<T> {
    type Wire = ROption<T::Wire>;
    const SHAPE: Shape = Shape::Option(&T::SHAPE);

    fn into_wire(self) -> Self::Wire {
        self.map(T::into_wire).into()
    }

    unsafe fn copy_out(wire: &Self::Wire) -> Self {
        match wire {
            // SAFETY: the caller's promise holds for the content.
            ROption::RSome(value) => Some(unsafe { T::copy_out(value) }),
            ROption::RNone => None,
        }
    }

    const MIN_ENCODED_LEN: usize = 1;

    #[inline]
    fn encode(wire: &Self::Wire, into: &mut Encoder<'_>) -> Result<(), MarshalError> {
        match wire {
            ROption::RSome(value) => {
                into.value(&1_u8)?;
                T::encode(value, into)
            }
            ROption::RNone => into.value(&0_u8),
        }
    }

    #[inline]
    fn decode(from: &mut Decoder<'_>) -> Result<Self::Wire, MarshalError> {
        Ok(match from.tag()? {
            true => ROption::RSome(T::decode(from)?),
            false => ROption::RNone,
        })
    }
}

// SAFETY: as its content.
#[diagnostic::do_not_recommend]
unsafe impl<T: Returned, E: Returned> Returned for Result<T, E> {
    type Wire = RResult<T::Wire, E::Wire>;
    const SHAPE: Shape = Shape::Result(&T::SHAPE, &E::SHAPE);

    fn into_wire(self) -> Self::Wire {
        match self {
            Ok(value) => RResult::ROk(value.into_wire()),
            Err(error) => RResult::RErr(error.into_wire()),
        }
    }

    unsafe fn copy_out(wire: &Self::Wire) -> Self {
        match wire {
            // SAFETY: the caller's promise holds for the content.
            RResult::ROk(value) => Ok(unsafe { T::copy_out(value) }),
            // SAFETY: as above.
            RResult::RErr(error) => Err(unsafe { E::copy_out(error) }),
        }
    }
    const MIN_ENCODED_LEN: usize = 1;

    #[inline]
    fn encode(wire: &Self::Wire, into: &mut Encoder<'_>) -> Result<(), MarshalError> {
        match wire {
            RResult::ROk(value) => {
                into.value(&0_u8)?;
                T::encode(value, into)
            }
            RResult::RErr(error) => {
                into.value(&1_u8)?;
                E::encode(error, into)
            }
        }
    }

    #[inline]
    fn decode(from: &mut Decoder<'_>) -> Result<Self::Wire, MarshalError> {
        Ok(match from.tag()? {
            false => RResult::ROk(T::decode(from)?),
            true => RResult::RErr(E::decode(from)?),
        })
    }
}
