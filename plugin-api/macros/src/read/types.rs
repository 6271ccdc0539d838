//! Decides by their written form which types an interface's methods may use, and has the errors for all others. The bounds
//! on `Crossing` and `Returned` check the rest.

use super::text;
use proc_macro2::{TokenStream, TokenTree};
use quote::ToTokens;
use syn::{Error, GenericArgument, Ident, Lifetime, PathArguments, Result, Type, TypeParamBound};

/// How an argument crosses, according to its written form.
pub(crate) enum Passed {
    Value,
    Str,
    Ref {
        mutable: bool,
        of: Type,
    },
    Slice {
        mutable: bool,
        of: Type,
    },
    /// `of` is `dyn Trait`.
    Interface {
        mutable: bool,
        of: Type,
    },
}

/// What a method returns.
pub(crate) enum Returns {
    /// A `Returned` type; `()` if there is no return type.
    Copied(Type),
    Str(Type),
    Slice(Type, Type),
    Ref(Type, Type),
}

/// Without the invisible groups of `macro_rules` and without parentheses.
pub(super) fn bare(mut of: &Type) -> &Type {
    loop {
        of = match of {
            Type::Group(group) => &group.elem,
            Type::Paren(paren) => &paren.elem,
            _ => return of,
        }
    }
}

pub(super) fn passed(own: &Ident, of: &Type) -> Result<Passed> {
    let Type::Reference(reference) = of else {
        refuse(
            of,
            &argument_instead(of).unwrap_or("take `&T` of a `Crossing` type, `&[T]`, `&str` or `&dyn Interface`".to_owned()),
        )?;
        refuse_owner(of, of)?;
        return Ok(Passed::Value);
    };
    if let Some(lifetime) = named(&reference.lifetime) {
        return Err(Error::new_spanned(
            lifetime,
            format!(
                "`{}` asks for `{lifetime}`: leave the lifetime out, an argument is borrowed for the call",
                text(of)
            ),
        ));
    }
    let mutable = reference.mutability.is_some();
    Ok(match bare(&reference.elem) {
        Type::Path(path) if path.path.is_ident("str") => {
            if mutable {
                return Err(Error::new_spanned(of, "`&mut str` may not cross: use `&str`, or `&mut [u8]`"));
            }
            Passed::Str
        }
        Type::Slice(slice) => {
            let elem = bare(&slice.elem);
            refuse(elem, "use a slice of a `Crossing` type")?;
            refuse_text(elem, of)?;
            Passed::Slice {
                mutable,
                of: elem.clone(),
            }
        }
        Type::TraitObject(object) => Passed::Interface {
            mutable,
            of: interface_object(own, of, object)?,
        },
        elem => {
            refuse(
                elem,
                &argument_instead(elem).unwrap_or("use `&` of a `Crossing` type, `&str` or `&[T]`".to_owned()),
            )?;
            refuse_owner(elem, of)?;
            Passed::Ref {
                mutable,
                of: elem.clone(),
            }
        }
    })
}

/// `'_` means the same as no lifetime.
fn named(lifetime: &Option<Lifetime>) -> Option<&Lifetime> {
    lifetime.as_ref().filter(|lifetime| lifetime.ident != "_")
}

/// The remedy for a pointer to a closure or to a type that can be an interface.
fn argument_instead(of: &Type) -> Option<String> {
    let instead = "declare an interface for it and take `&dyn Interface` or `&mut dyn Interface`";
    match of {
        Type::BareFn(_) | Type::ImplTrait(_) | Type::TraitObject(_) => Some(instead.to_owned()),
        Type::Ptr(pointer) => {
            let mutable = if pointer.mutability.is_some() { "mut " } else { "" };
            Some(format!("use `&{mutable}{}` of a `Crossing` type", text(bare(&pointer.elem))))
        }
        Type::Path(path) => match &path.path.segments.last()?.arguments {
            PathArguments::AngleBracketed(arguments) => match arguments.args.first()? {
                GenericArgument::Type(Type::TraitObject(_)) => Some(instead.to_owned()),
                _ => None,
            },
            _ => None,
        },
        _ => None,
    }
}

/// `String` and `Vec` can be results but not arguments, because the callee would free the caller's memory.
fn refuse_owner(of: &Type, written: &Type) -> Result<()> {
    refuse_text(of, written)?;
    if let Some(elem) = vec_of(of) {
        let mutable = matches!(written, Type::Reference(reference) if reference.mutability.is_some());
        let mutable = if mutable { "mut " } else { "" };
        return Err(Error::new_spanned(
            written,
            format!(
                "`{}` may not cross as an argument: its memory belongs to the side that made it; use `&{mutable}[{}]`",
                text(written),
                text(elem)
            ),
        ));
    }
    Ok(())
}

fn refuse_text(of: &Type, written: &Type) -> Result<()> {
    match of {
        Type::Path(path) if path.path.is_ident("String") => Err(Error::new_spanned(
            written,
            format!(
                "`{}` may not cross as an argument: its memory belongs to the side that made it; use `&str`",
                text(written)
            ),
        )),
        _ => Ok(()),
    }
}

fn vec_of(of: &Type) -> Option<&Type> {
    let Type::Path(path) = of else { return None };
    match path.path.segments.last() {
        Some(last) if last.ident == "Vec" => match &last.arguments {
            PathArguments::AngleBracketed(arguments) => match arguments.args.first() {
                Some(GenericArgument::Type(elem)) => Some(elem),
                _ => None,
            },
            _ => None,
        },
        _ => None,
    }
}

fn interface_object(own: &Ident, written: &Type, object: &syn::TypeTraitObject) -> Result<Type> {
    let mut bounds = object.bounds.iter();
    match (bounds.next(), bounds.next()) {
        (Some(TypeParamBound::Trait(bound)), None) => {
            let path = &bound.path;
            if path.is_ident(own) {
                return Err(Error::new_spanned(
                    written,
                    format!(
                        "`{}` lends `{own}` to itself, so its description would have no end: put what it needs of the other \
                         object into an interface of its own",
                        text(written)
                    ),
                ));
            }
            let dyn_token = object.dyn_token.unwrap_or_default();
            // It uses the author's own tokens, so that errors point to the source.
            Ok(Type::TraitObject(syn::TypeTraitObject {
                dyn_token: Some(dyn_token),
                bounds: std::iter::once(TypeParamBound::Trait(syn::TraitBound {
                    paren_token: None,
                    modifier: syn::TraitBoundModifier::None,
                    lifetimes: None,
                    path: path.clone(),
                }))
                .collect(),
            }))
        }
        _ => Err(Error::new_spanned(
            written,
            format!(
                "`{}` has more than one bound: write one interface, `&dyn Interface` or `&mut dyn Interface`; the object is used \
                 on the caller's thread, for the call",
                text(written)
            ),
        )),
    }
}

pub(super) fn returns(of: &Type) -> Result<Returns> {
    let Type::Reference(reference) = of else {
        refuse(
            of,
            "answer with a `Crossing` type, `String`, or `Vec`, `Option`, `Result` of those",
        )?;
        return Ok(Returns::Copied(of.clone()));
    };
    if reference.mutability.is_some() {
        return Err(Error::new_spanned(
            of,
            format!(
                "`{}` may not be a result: answer with a value, or take a `&mut` argument and write there",
                text(of)
            ),
        ));
    }
    if let Some(lifetime) = named(&reference.lifetime) {
        return Err(Error::new_spanned(
            lifetime,
            format!(
                "`{}` could outlive the image: leave the lifetime out, a result borrows from `self` only",
                text(of)
            ),
        ));
    }
    Ok(match bare(&reference.elem) {
        Type::Path(path) if path.path.is_ident("str") => Returns::Str(of.clone()),
        Type::Slice(slice) => {
            let elem = bare(&slice.elem);
            refuse(elem, "answer with a slice of a `Crossing` type, or with a `Vec`")?;
            Returns::Slice(elem.clone(), of.clone())
        }
        Type::TraitObject(_) => {
            return Err(Error::new_spanned(
                of,
                format!(
                    "`{}` may not be a result: an interface is lent as an argument, for one call",
                    text(of)
                ),
            ));
        }
        elem => {
            refuse(elem, "answer with `&` of a `Crossing` type")?;
            Returns::Ref(elem.clone(), of.clone())
        }
    })
}

/// Names the well-known types that own or point to something of one image, also inside of `Option` and the like. The bound
/// on `Crossing` or `Returned` catches all others.
fn refuse(of: &Type, instead: &str) -> Result<()> {
    let of = bare(of);
    let why = match of {
        Type::BareFn(_) => "a function pointer would outlive the image it points into",
        Type::Ptr(_) => "a raw pointer says nothing about how long it is valid",
        Type::ImplTrait(_) => "an interface is one function table, so its types are concrete",
        Type::TraitObject(_) => "an object crosses by reference, as an argument",
        Type::Reference(_) => "nothing says how long a reference inside of another type is valid",
        Type::Macro(_) => "a macro hides what it is",
        Type::Tuple(tuple) if !tuple.elems.is_empty() => {
            return Err(Error::new_spanned(
                of,
                format!(
                    "`{}` may not cross: a tuple has no fixed layout; use a #[repr(C)] struct that derives `Crossing`",
                    text(of)
                ),
            ));
        }
        _ if has_self(of.to_token_stream()) => "`Self` is another type in each plugin",
        Type::Path(path) => match path.path.segments.last().map(|last| (&last.ident, &last.arguments)) {
            Some((name, PathArguments::AngleBracketed(arguments))) => match name.to_string().as_str() {
                "Box" | "Rc" | "Arc" | "Cow" | "Weak" => "it carries a pointer into the image that made it",
                "HashMap" | "BTreeMap" | "HashSet" | "BTreeSet" | "VecDeque" => {
                    "its memory belongs to the image that made it"
                }
                _ => {
                    return arguments.args.iter().try_for_each(|argument| match argument {
                        GenericArgument::Type(of) => refuse(of, instead),
                        _ => Ok(()),
                    });
                }
            },
            _ => return Ok(()),
        },
        _ => return Ok(()),
    };
    Err(Error::new_spanned(
        of,
        format!("`{}` may not cross: {why}; {instead}", text(of)),
    ))
}

pub(super) fn has_self(tokens: TokenStream) -> bool {
    tokens.into_iter().any(|token| match token {
        TokenTree::Ident(ident) => ident == "Self",
        TokenTree::Group(group) => has_self(group.stream()),
        _ => false,
    })
}
