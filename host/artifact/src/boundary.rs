//! Which methods of an interface cannot be carried to a plugin in a sandbox or in another process, so that its artifact is refused before any of
//! its code runs.

use crate::manifest::{Interface, Kind, Method, Shape, Type};
use std::fmt;

/// A method that cannot be carried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsupported {
    /// The interface: that of the plugin, or of an object that is lent.
    pub interface: String,
    /// The method.
    pub method: String,
    /// Why it cannot.
    pub reason: Reason,
}

/// Why a method cannot be carried.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// It returns a borrow, and what it borrows from is on the other side.
    BorrowedResult,
    /// It passes a `usize` or an `isize`, and a pointer of the other side has another size.
    PointerSized {
        /// The type in the signature that has it.
        of: String,
    },
}

impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            interface,
            method,
            reason,
        } = self;
        match reason {
            Reason::BorrowedResult => write!(
                f,
                "`{interface}::{method}` returns a borrow, and the object is not in the caller's memory: return a value, `String` or `Vec`"
            ),
            Reason::PointerSized { of } => write!(
                f,
                "`{interface}::{method}` passes `{of}`, which has or is a `usize` or `isize`, and those have another size on the other \
                 side: use a type with a fixed size, such as `u64`"
            ),
        }
    }
}

/// The methods that cannot be carried, of this interface and of those that it lends. `pointer_size` is that of the other side, in bytes: 4 for
/// wasm32.
#[must_use]
pub fn unsupported(interface: &Interface, pointer_size: usize) -> Vec<Unsupported> {
    let (mut found, mut interfaces) = (Vec::new(), vec![interface]);
    while let Some(interface) = interfaces.pop() {
        for method in &interface.methods {
            if let Some(reason) = reason(method, pointer_size) {
                let unsupported = Unsupported {
                    interface: interface.name.clone(),
                    method: method.name.clone(),
                    reason,
                };
                if !found.contains(&unsupported) {
                    found.push(unsupported);
                }
            }
            for argument in &method.arguments {
                if let Shape::Interface(lent) | Shape::InterfaceMut(lent) = &argument.passed {
                    interfaces.push(lent);
                }
            }
        }
    }
    found
}

fn reason(method: &Method, pointer_size: usize) -> Option<Reason> {
    if let Shape::Str | Shape::Ref(_) | Shape::Slice(_) = method.returns {
        return Some(Reason::BorrowedResult);
    }
    if pointer_size == size_of::<usize>() {
        return None;
    }
    let arguments = method.arguments.iter().map(|argument| &argument.passed);
    let of = arguments.chain([&method.returns]).find_map(pointer_sized_shape)?;
    Some(Reason::PointerSized { of: of.to_owned() })
}

fn pointer_sized_shape(shape: &Shape) -> Option<&str> {
    match shape {
        Shape::Value(of)
        | Shape::Number(of)
        | Shape::Ref(of)
        | Shape::RefMut(of)
        | Shape::Slice(of)
        | Shape::SliceMut(of) => has_pointer_size(of).then_some(&of.name),
        Shape::Vec(of) | Shape::Option(of) => pointer_sized_shape(of),
        Shape::Result(of, error) => pointer_sized_shape(of).or_else(|| pointer_sized_shape(error)),
        Shape::Unit | Shape::Str | Shape::String | Shape::Interface(_) | Shape::InterfaceMut(_) => None,
    }
}

fn has_pointer_size(of: &Type) -> bool {
    match &of.kind {
        Kind::Scalar => matches!(&*of.name, "usize" | "isize"),
        Kind::Struct(fields) => fields.iter().any(|field| has_pointer_size(&field.of)),
        Kind::Enum(_) => false,
        Kind::Array(of, _) => has_pointer_size(of),
    }
}

#[cfg(test)]
mod tests;
