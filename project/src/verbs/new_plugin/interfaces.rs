//! The interfaces of a workspace, parsed from sources with `syn`: the traits marked `#[interface]`, and their plain data, so
//! that a template can return values of the right types. Nothing is compiled.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use quote::ToTokens;
use syn::{
    Fields, FnArg, GenericArgument, Item, ItemEnum, ItemStruct, ItemTrait, Pat, PathArguments, ReturnType, TraitItem, Type,
};

/// The public items of one interface crate.
#[derive(Default)]
pub struct Interfaces {
    pub traits: BTreeMap<String, ItemTrait>,
    structs: BTreeMap<String, ItemStruct>,
    enums: BTreeMap<String, ItemEnum>,
}

/// A method of an interface.
pub struct Method {
    pub name: String,
    pub signature: String,
    /// Names and types, without `self`.
    pub arguments: Vec<(String, Type)>,
    pub output: ReturnType,
    pub takes_self_mutably: bool,
}

impl Interfaces {
    /// Reads every source file under `folder`. Files that do not parse are skipped; the compiler reports them.
    pub fn read(folder: &Path) -> Interfaces {
        let mut found = Interfaces::default();
        found.look_into(folder);
        found
    }

    fn look_into(&mut self, folder: &Path) {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        for path in entries.map(|entry| entry.path()) {
            if path.is_dir() {
                self.look_into(&path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let parsed = fs::read_to_string(&path).ok().and_then(|text| syn::parse_file(&text).ok());
                parsed
                    .into_iter()
                    .flat_map(|file| file.items)
                    .for_each(|item| self.take(item));
            }
        }
    }

    fn take(&mut self, item: Item) {
        match item {
            Item::Trait(item) if has_attribute(&item.attrs, "interface") => {
                drop(self.traits.insert(item.ident.to_string(), item))
            }
            Item::Struct(item) => drop(self.structs.insert(item.ident.to_string(), item)),
            Item::Enum(item) => drop(self.enums.insert(item.ident.to_string(), item)),
            _ => {}
        }
    }

    /// The methods that an implementation must have: those without a default body.
    pub fn methods(&self, interface: &str) -> Vec<Method> {
        let items = self.traits.get(interface).into_iter().flat_map(|item| &item.items);
        let methods = items.filter_map(|item| match item {
            TraitItem::Fn(method) if method.default.is_none() => Some(&method.sig),
            _ => None,
        });
        let described = methods.map(|signature| {
            let arguments = signature.inputs.iter().filter_map(|input| match input {
                FnArg::Typed(typed) => {
                    let name = match &*typed.pat {
                        Pat::Ident(name) => name.ident.to_string(),
                        other => other.to_token_stream().to_string(),
                    };
                    Some((name, (*typed.ty).clone()))
                }
                FnArg::Receiver(_) => None,
            });
            Method {
                name: signature.ident.to_string(),
                signature: signature.to_token_stream().to_string(),
                arguments: arguments.collect(),
                output: signature.output.clone(),
                takes_self_mutably: signature.receiver().is_some_and(|receiver| receiver.mutability.is_some()),
            }
        });
        described.collect()
    }

    /// The simplest value of a type, as source; none if there is no such value.
    pub fn simplest(&self, ty: &Type) -> Option<String> {
        match ty {
            Type::Tuple(tuple) if tuple.elems.is_empty() => Some("()".to_owned()),
            Type::Paren(inner) => self.simplest(&inner.elem),
            Type::Array(array) => Some(format!("[{}; {}]", self.simplest(&array.elem)?, array.len.to_token_stream())),
            Type::Reference(reference) => match (&*reference.elem, reference.mutability) {
                (Type::Path(path), None) if path.path.is_ident("str") => Some("\"\"".to_owned()),
                (Type::Slice(_), None) => Some("&[]".to_owned()),
                (Type::Slice(_), Some(_)) => Some("&mut []".to_owned()),
                (Type::TraitObject(_), mutable) => {
                    let name = implementor(&dyn_name(&reference.elem)?);
                    Some(format!("&{}{name}", if mutable.is_some() { "mut " } else { "" }))
                }
                (other, mutable) => Some(format!(
                    "&{}{}",
                    if mutable.is_some() { "mut " } else { "" },
                    self.simplest(other)?
                )),
            },
            Type::Path(path) => {
                let last = path.path.segments.last()?;
                let name = last.ident.to_string();
                match name.as_str() {
                    "u8" | "u16" | "u32" | "u64" | "u128" | "usize" | "i8" | "i16" | "i32" | "i64" | "i128" | "isize" => {
                        Some("0".to_owned())
                    }
                    "f32" | "f64" => Some("0.0".to_owned()),
                    "bool" => Some("false".to_owned()),
                    "char" => Some("' '".to_owned()),
                    "String" => Some("String::new()".to_owned()),
                    "Vec" => Some("Vec::new()".to_owned()),
                    "Option" => Some("None".to_owned()),
                    "Result" => Some(format!("Ok({})", self.simplest(first_argument(&last.arguments)?)?)),
                    name => self.simplest_of_own(name),
                }
            }
            _ => None,
        }
    }

    fn simplest_of_own(&self, name: &str) -> Option<String> {
        if let Some(own) = self.structs.get(name) {
            return match &own.fields {
                Fields::Unit => Some(name.to_owned()),
                Fields::Named(fields) => {
                    let values = fields.named.iter().map(|field| {
                        let value = self.simplest(&field.ty)?;
                        Some(format!("{}: {value}", field.ident.as_ref()?))
                    });
                    Some(format!("{name} {{ {} }}", values.collect::<Option<Vec<_>>>()?.join(", ")))
                }
                Fields::Unnamed(fields) => {
                    let values = fields.unnamed.iter().map(|field| self.simplest(&field.ty));
                    Some(format!("{name}({})", values.collect::<Option<Vec<_>>>()?.join(", ")))
                }
            };
        }
        let variant = self.enums.get(name)?.variants.first()?;
        matches!(variant.fields, Fields::Unit).then(|| format!("{name}::{}", variant.ident))
    }

    /// Whether results of this type can be compared and printed.
    pub fn is_comparable(&self, ty: &Type) -> bool {
        let Type::Path(path) = ty else { return false };
        let Some(last) = path.path.segments.last() else { return false };
        let attributes = match (
            self.structs.get(&last.ident.to_string()),
            self.enums.get(&last.ident.to_string()),
        ) {
            (Some(own), _) => &own.attrs,
            (_, Some(own)) => &own.attrs,
            // A type of the language or of another crate, which is comparable as a rule.
            _ => return first_argument(&last.arguments).is_none_or(|inner| self.is_comparable(inner)),
        };
        let derives: String = attributes
            .iter()
            .map(|attribute| attribute.to_token_stream().to_string())
            .collect();
        derives.contains("PartialEq") && derives.contains("Debug")
    }

    /// The names of this crate that occur in a piece of source.
    pub fn named_in(&self, source: &str) -> Vec<String> {
        let words: Vec<_> = source.split(|c: char| !c.is_alphanumeric() && c != '_').collect();
        let names = self.traits.keys().chain(self.structs.keys()).chain(self.enums.keys());
        names.filter(|name| words.contains(&name.as_str())).cloned().collect()
    }
}

/// The interface of a `dyn`.
pub fn dyn_name(ty: &Type) -> Option<String> {
    let Type::TraitObject(object) = ty else { return None };
    object.bounds.iter().find_map(|bound| match bound {
        syn::TypeParamBound::Trait(bound) => bound.path.segments.last().map(|last| last.ident.to_string()),
        _ => None,
    })
}

/// The name of a struct that implements an interface in a test.
pub fn implementor(interface: &str) -> String {
    format!("Silent{interface}")
}

fn first_argument(arguments: &PathArguments) -> Option<&Type> {
    let PathArguments::AngleBracketed(arguments) = arguments else {
        return None;
    };
    arguments.args.iter().find_map(|argument| match argument {
        GenericArgument::Type(ty) => Some(ty),
        _ => None,
    })
}

fn has_attribute(attributes: &[syn::Attribute], name: &str) -> bool {
    let last = |attribute: &syn::Attribute| attribute.path().segments.last().map(|last| last.ident.to_string());
    attributes
        .iter()
        .any(|attribute| last(attribute).is_some_and(|last| last == name))
}
