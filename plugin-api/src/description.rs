//! The description of an interface, as constants: every method, every type, each field with its offset. A host compares it
//! when it checks an artifact, and prints it when it refuses one. `manifest` encodes it.

/// An interface: its name, version and methods in table order.
#[derive(Debug)]
pub struct Interface {
    /// The trait's name.
    pub name: &'static str,
    /// A different major version is a different contract.
    pub major: u16,
    /// Grows with each `#[since]` method.
    pub minor: u16,
    /// The methods, in the order of the function table.
    pub methods: &'static [Method],
}

/// One method of an interface.
#[derive(Debug)]
pub struct Method {
    /// The method's name.
    pub name: &'static str,
    /// Whether it takes `&self` or `&mut self`.
    pub receiver: Receiver,
    /// Its arguments without the receiver.
    pub arguments: &'static [Argument],
    /// What it returns.
    pub returns: Shape,
    /// The interface version that added it, for methods that older plugins may lack.
    pub since: Option<(u16, u16)>,
}

/// How a method takes its object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Receiver {
    /// `&self`
    Ref,
    /// `&mut self`
    RefMut,
}

/// An argument of a method.
#[derive(Debug)]
pub struct Argument {
    /// Its name, for people; it is not compared.
    pub name: &'static str,
    /// How it crosses.
    pub passed: Shape,
}

/// How a value crosses the boundary.
#[derive(Debug)]
pub enum Shape {
    /// `&str`
    Str,
    /// `String`, copied out inside the call
    String,
    /// A plain value
    Value(&'static Type),
    /// A number or a `bool` as a result, written by its own name; it is returned in registers
    Number(&'static Type),
    /// `&T`
    Ref(&'static Type),
    /// `&mut T`
    RefMut(&'static Type),
    /// `&[T]`
    Slice(&'static Type),
    /// `&mut [T]`
    SliceMut(&'static Type),
    /// `&dyn Interface`
    Interface(&'static Interface),
    /// `&mut dyn Interface`
    InterfaceMut(&'static Interface),
    /// `Vec<T>`, copied out inside the call
    Vec(&'static Shape),
    /// `Option<T>`
    Option(&'static Shape),
    /// `Result<T, E>`
    Result(&'static Shape, &'static Shape),
}

/// A type that crosses as plain bytes.
#[derive(Debug)]
pub struct Type {
    /// Its name without path.
    pub name: &'static str,
    /// Bytes.
    pub size: usize,
    /// Bytes.
    pub align: usize,
    /// What it is made of.
    pub kind: Kind,
}

/// What a plain type is made of.
#[derive(Debug)]
pub enum Kind {
    /// A number, `bool`, `char` or `()`.
    Scalar,
    /// A `repr(C)` struct.
    Struct(&'static [Field]),
    /// A field-less enum with a fixed representation.
    Enum(&'static [Variant]),
    /// `[T; N]`
    Array(&'static Type, usize),
}

/// A field at its offset.
#[derive(Debug)]
pub struct Field {
    /// Its name.
    pub name: &'static str,
    /// Bytes from the start of the struct.
    pub offset: usize,
    /// Its type.
    pub of: &'static Type,
}

/// A variant of a field-less enum.
#[derive(Debug)]
pub struct Variant {
    /// Its name.
    pub name: &'static str,
    /// Its discriminant.
    pub value: i64,
}
