//! Which types may cross the boundary between host and plugin, and how: arguments are borrowed or plain, results are copied
//! out inside the call, so that nothing can outlive the image that made it. Interfaces as arguments live in `interface`.

use crate::description::{Kind, Shape, Type};
use abi_stable::std_types::{ROption, RResult, RString, RVec};

/// A plain value: fixed layout, no reference, no pointer, no function and nothing to drop in it.
///
/// Derive it; never implement it by hand. The derive accepts `#[repr(C)]` structs of `Crossing` fields and field-less enums
/// with a fixed integer representation.
///
/// # Safety
/// `DESCRIPTION` must have the exact layout, and the bytes of a value must be meaningful in any image of this process.
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
}

// Error messages do not list these implementations, because the notes above are more helpful.

macro_rules! scalars {
    ($($scalar:ty),* $(,)?) => { $(
        // SAFETY: a scalar of the language is plain, and its size and alignment are taken from the compiler.
        #[diagnostic::do_not_recommend]
        unsafe impl Crossing for $scalar {
            const DESCRIPTION: &'static Type = &Type {
                name: stringify!($scalar),
                size: size_of::<$scalar>(),
                align: align_of::<$scalar>(),
                kind: Kind::Scalar,
            };
        }
    )* };
}

scalars!(u8, u16, u32, u64, usize, i8, i16, i32, i64, isize, f32, f64, bool, char, ());

// SAFETY: an array is its elements at multiples of their size, and each of them is plain.
#[diagnostic::do_not_recommend]
unsafe impl<T: Crossing, const N: usize> Crossing for [T; N] {
    const DESCRIPTION: &'static Type = &Type {
        name: "array",
        size: size_of::<[T; N]>(),
        align: align_of::<[T; N]>(),
        kind: Kind::Array(T::DESCRIPTION, N),
    };
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
}
