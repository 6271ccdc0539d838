//! Converts the host's own interfaces, which are constants of `#[interface]`, into the form of parsed manifests, so that
//! they can be compared.

use super::{Argument, Field, Interface, Kind, Method, Receiver, Shape, Type, Variant};
use reslot_plugin_api::description as constant;

impl From<&constant::Interface> for Interface {
    fn from(of: &constant::Interface) -> Self {
        Self {
            name: of.name.to_owned(),
            major: of.major,
            minor: of.minor,
            methods: of.methods.iter().map(Method::from).collect(),
        }
    }
}

impl From<&constant::Method> for Method {
    fn from(of: &constant::Method) -> Self {
        Self {
            name: of.name.to_owned(),
            receiver: match of.receiver {
                constant::Receiver::Ref => Receiver::Ref,
                constant::Receiver::RefMut => Receiver::RefMut,
            },
            arguments: of
                .arguments
                .iter()
                .map(|argument| Argument {
                    name: argument.name.to_owned(),
                    passed: Shape::from(&argument.passed),
                })
                .collect(),
            returns: Shape::from(&of.returns),
            since: of.since,
        }
    }
}

impl From<&constant::Shape> for Shape {
    fn from(of: &constant::Shape) -> Self {
        match of {
            constant::Shape::Str => Self::Str,
            constant::Shape::String => Self::String,
            constant::Shape::Value(of) if of.name == "()" => Self::Unit,
            constant::Shape::Value(of) => Self::Value(Type::from(*of)),
            constant::Shape::Number(of) => Self::Number(Type::from(*of)),
            constant::Shape::Ref(of) => Self::Ref(Type::from(*of)),
            constant::Shape::RefMut(of) => Self::RefMut(Type::from(*of)),
            constant::Shape::Slice(of) => Self::Slice(Type::from(*of)),
            constant::Shape::SliceMut(of) => Self::SliceMut(Type::from(*of)),
            constant::Shape::Interface(of) => Self::Interface(Interface::from(*of)),
            constant::Shape::InterfaceMut(of) => Self::InterfaceMut(Interface::from(*of)),
            constant::Shape::Vec(of) => Self::Vec(Box::new(Self::from(*of))),
            constant::Shape::Option(of) => Self::Option(Box::new(Self::from(*of))),
            constant::Shape::Result(value, error) => {
                Self::Result(Box::new(Self::from(*value)), Box::new(Self::from(*error)))
            }
        }
    }
}

impl From<&constant::Type> for Type {
    fn from(of: &constant::Type) -> Self {
        Self {
            name: of.name.to_owned(),
            size: of.size as u64,
            align: of.align as u64,
            kind: match of.kind {
                constant::Kind::Scalar => Kind::Scalar,
                constant::Kind::Struct(fields) => Kind::Struct(
                    fields
                        .iter()
                        .map(|field| Field {
                            name: field.name.to_owned(),
                            offset: field.offset as u64,
                            of: Self::from(field.of),
                        })
                        .collect(),
                ),
                constant::Kind::Enum(variants) => Kind::Enum(
                    variants
                        .iter()
                        .map(|variant| Variant {
                            name: variant.name.to_owned(),
                            value: variant.value,
                        })
                        .collect(),
                ),
                constant::Kind::Array(element, len) => Kind::Array(Box::new(Self::from(element)), len as u64),
            },
        }
    }
}
