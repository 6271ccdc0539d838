//! Reading a trait as an interface, and refusing, with the reason and the remedy, what may not stand in one.

use proc_macro2::Span;
use syn::{
    Attribute, Block, Error, FnArg, Ident, ItemTrait, LitStr, Pat, PathArguments, Result, ReturnType, TraitItem, Type,
    TypeParamBound, Visibility, parse::Parse, parse::ParseStream, spanned::Spanned,
};

/// The attribute's arguments.
pub(crate) struct Arguments {
    version: Option<(u16, u16, Span)>,
}

impl Parse for Arguments {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        if input.is_empty() {
            return Ok(Self { version: None });
        }
        let name: Ident = input.parse()?;
        if name != "version" {
            return Err(Error::new(name.span(), "expected `version = \"1.0\"`"));
        }
        input.parse::<syn::Token![=]>()?;
        let text: LitStr = input.parse()?;
        let (major, minor) = version(&text)?;
        Ok(Self {
            version: Some((major, minor, text.span())),
        })
    }
}

fn version(text: &LitStr) -> Result<(u16, u16)> {
    text.value()
        .split_once('.')
        .and_then(|(major, minor)| Some((major.parse().ok()?, minor.parse().ok()?)))
        .ok_or_else(|| Error::new(text.span(), "expected a version of two numbers, such as \"1.0\""))
}

pub(crate) struct Interface {
    pub(crate) item: ItemTrait,
    pub(crate) vis: Visibility,
    pub(crate) name: Ident,
    pub(crate) major: u16,
    pub(crate) minor: u16,
    pub(crate) methods: Vec<Method>,
}

pub(crate) struct Method {
    pub(crate) name: Ident,
    pub(crate) docs: Vec<Attribute>,
    pub(crate) mutable: bool,
    pub(crate) arguments: Vec<Argument>,
    pub(crate) returns: Returns,
    pub(crate) since: Option<(u16, u16)>,
}

pub(crate) struct Argument {
    pub(crate) name: Ident,
    pub(crate) of: Type,
    pub(crate) passed: Passed,
}

/// How an argument crosses, told by the form in which it is written.
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

/// What a method answers.
pub(crate) enum Returns {
    /// A `Returned` type; `()` where nothing is written.
    Copied(Type),
    Str(Type),
    Slice(Type, Type),
    Ref(Type, Type),
}

pub(crate) fn interface(arguments: Arguments, mut item: ItemTrait) -> Result<Interface> {
    if let Some(word) = &item.unsafety {
        return Err(Error::new(word.span(), "an interface is a safe trait"));
    }
    if !item.generics.params.is_empty() || item.generics.where_clause.is_some() {
        return Err(Error::new(
            item.generics.span(),
            "an interface has no generic parameters: it is one function table",
        ));
    }
    if !item.supertraits.is_empty() {
        return Err(Error::new(
            item.supertraits.span(),
            "an interface has no supertraits; `Send` (and `Sync`, if every method takes `&self`) is asked of its plugins anyway",
        ));
    }
    let mut methods = Vec::new();
    let mut hidden = Vec::new();
    let mut newest = (1, 0);
    for item in &mut item.items {
        let TraitItem::Fn(function) = item else {
            return Err(Error::new(item.span(), "an interface has only methods"));
        };
        let (method, default) = method(function)?;
        match (method.since, methods.last().and_then(|last: &Method| last.since)) {
            (None, Some(_)) => {
                return Err(Error::new(
                    method.name.span(),
                    "methods with #[since] come last: the table grows at its end, and an older plugin's table ends before them",
                ));
            }
            (Some(this), Some(last)) if this < last => {
                return Err(Error::new(
                    method.name.span(),
                    "methods with #[since] stand in the order of their versions",
                ));
            }
            _ => {}
        }
        newest = newest.max(method.since.unwrap_or_default());
        hidden.extend(default.map(TraitItem::Fn));
        methods.push(method);
    }
    item.items.extend(hidden);
    let (major, minor) = match arguments.version {
        Some((major, minor, span)) => {
            if newest.0 == major && newest.1 > minor {
                return Err(Error::new(
                    span,
                    format!("a method is #[since(\"{}.{}\")]", newest.0, newest.1),
                ));
            }
            (major, minor)
        }
        None => newest,
    };
    Ok(Interface {
        vis: item.vis.clone(),
        name: item.ident.clone(),
        item,
        major,
        minor,
        methods,
    })
}

/// Reads one method. The body of a `#[since]` method moves into a hidden method of its own, which its default calls: so the
/// host's side can run the default body for a plugin whose table lacks the method.
fn method(function: &mut syn::TraitItemFn) -> Result<(Method, Option<syn::TraitItemFn>)> {
    let signature = &function.sig;
    for (word, text) in [
        (signature.asyncness.map(|word| word.span()), "async"),
        (signature.unsafety.map(|word| word.span()), "unsafe"),
        (signature.constness.map(|word| word.span()), "const"),
        (signature.abi.as_ref().map(Spanned::span), "extern"),
    ] {
        if let Some(span) = word {
            return Err(Error::new(span, format!("a method of an interface cannot be {text}")));
        }
    }
    if !signature.generics.params.is_empty() {
        return Err(Error::new(
            signature.generics.span(),
            "a method of an interface has no generic parameters and no named lifetimes: what it answers may borrow from `self` only",
        ));
    }
    let Some(FnArg::Receiver(receiver)) = signature.inputs.first() else {
        return Err(Error::new(
            signature.ident.span(),
            "a method of an interface takes `&self` or `&mut self`",
        ));
    };
    if receiver.reference.is_none() || receiver.colon_token.is_some() {
        return Err(Error::new(
            receiver.span(),
            "a method of an interface takes `&self` or `&mut self`",
        ));
    }
    let mut arguments = Vec::new();
    for input in signature.inputs.iter().skip(1) {
        let FnArg::Typed(input) = input else { continue };
        let Pat::Ident(name) = &*input.pat else {
            return Err(Error::new(
                input.pat.span(),
                "an argument of an interface's method is a plain name",
            ));
        };
        arguments.push(Argument {
            name: name.ident.clone(),
            passed: passed(&input.ty)?,
            of: (*input.ty).clone(),
        });
    }
    let returns = match &signature.output {
        ReturnType::Default => Returns::Copied(syn::parse_quote!(())),
        ReturnType::Type(_, of) => returns(of)?,
    };
    let mutable = receiver.mutability.is_some();
    let since = since(&mut function.attrs)?;
    let default = match (since, &mut function.default) {
        (Some(_), Some(body)) => Some(hidden_default(&function.sig, body, &arguments)),
        (Some(_), None) => {
            return Err(Error::new(
                function.sig.ident.span(),
                "a method with #[since] needs a default body: it runs for plugins that were built before the method existed",
            ));
        }
        (None, _) => None,
    };
    let method = Method {
        name: function.sig.ident.clone(),
        docs: function
            .attrs
            .iter()
            .filter(|attribute| attribute.path().is_ident("doc"))
            .cloned()
            .collect(),
        mutable,
        arguments,
        returns,
        since,
    };
    Ok((method, default))
}

fn hidden_default(signature: &syn::Signature, body: &mut Block, arguments: &[Argument]) -> syn::TraitItemFn {
    let hidden = hidden_name(&signature.ident);
    let names = arguments.iter().map(|argument| &argument.name);
    let mut signature = signature.clone();
    let own = std::mem::replace(body, syn::parse_quote!({ self.#hidden(#(#names),*) }));
    signature.ident = hidden;
    syn::parse_quote!(#[doc(hidden)] #signature #own)
}

pub(crate) fn hidden_name(method: &Ident) -> Ident {
    Ident::new(&format!("__default_{method}"), method.span())
}

fn since(attributes: &mut Vec<Attribute>) -> Result<Option<(u16, u16)>> {
    let Some(at) = attributes.iter().position(|attribute| attribute.path().is_ident("since")) else {
        return Ok(None);
    };
    let text: LitStr = attributes.remove(at).parse_args()?;
    version(&text).map(Some)
}

fn passed(of: &Type) -> Result<Passed> {
    let Type::Reference(reference) = of else {
        refuse(of, "take it by `&`, or use a `Crossing` type")?;
        return Ok(Passed::Value);
    };
    if let Some(lifetime) = &reference.lifetime {
        return Err(Error::new(
            lifetime.span(),
            "an argument is borrowed for the call; it has no named lifetime",
        ));
    }
    let mutable = reference.mutability.is_some();
    Ok(match &*reference.elem {
        Type::Path(path) if path.path.is_ident("str") => {
            if mutable {
                return Err(Error::new(of.span(), "`&mut str` cannot cross; use `&str`, or `&mut [u8]`"));
            }
            Passed::Str
        }
        Type::Slice(slice) => {
            refuse(&slice.elem, "use a slice of a `Crossing` type")?;
            Passed::Slice {
                mutable,
                of: (*slice.elem).clone(),
            }
        }
        Type::TraitObject(object) => Passed::Interface {
            mutable,
            of: interface_object(object)?,
        },
        elem => {
            refuse(elem, "use `&` of a `Crossing` type, `&str` or `&[T]`")?;
            Passed::Ref {
                mutable,
                of: elem.clone(),
            }
        }
    })
}

fn interface_object(object: &syn::TypeTraitObject) -> Result<Type> {
    let mut bounds = object.bounds.iter();
    match (bounds.next(), bounds.next()) {
        (Some(TypeParamBound::Trait(bound)), None) => {
            let path = &bound.path;
            Ok(syn::parse_quote!(dyn #path))
        }
        _ => Err(Error::new(
            object.span(),
            "write one interface: `&dyn Interface` or `&mut dyn Interface`",
        )),
    }
}

fn returns(of: &Type) -> Result<Returns> {
    let Type::Reference(reference) = of else {
        refuse(
            of,
            "answer with a `Crossing` type, `String`, or `Vec`, `Option`, `Result` of those",
        )?;
        return Ok(Returns::Copied(of.clone()));
    };
    if reference.mutability.is_some() {
        return Err(Error::new(
            of.span(),
            "a method cannot answer with `&mut`; take a `&mut` argument instead",
        ));
    }
    if let Some(lifetime) = &reference.lifetime {
        return Err(Error::new(
            lifetime.span(),
            format!("a result may borrow from `self` only: `{lifetime}` could outlive the image; leave the lifetime out"),
        ));
    }
    Ok(match &*reference.elem {
        Type::Path(path) if path.path.is_ident("str") => Returns::Str(of.clone()),
        Type::Slice(slice) => Returns::Slice((*slice.elem).clone(), of.clone()),
        Type::TraitObject(_) => {
            return Err(Error::new(of.span(), "an interface can be lent as an argument, not answered"));
        }
        elem => {
            refuse(elem, "answer with `&` of a `Crossing` type")?;
            Returns::Ref(elem.clone(), of.clone())
        }
    })
}

/// Names the well-known types that own or point to something of one image. What is not known here is caught by the bound on
/// `Crossing` or `Returned`.
fn refuse(of: &Type, instead: &str) -> Result<()> {
    let why = match of {
        Type::BareFn(_) => "a function pointer would outlive the image it points into",
        Type::Ptr(_) => "a raw pointer says nothing about how long it is valid",
        Type::ImplTrait(_) => "an interface is one function table, so its types are concrete",
        Type::TraitObject(_) => "an object crosses by reference",
        Type::Path(path) => match path.path.segments.last() {
            Some(last) if matches!(last.arguments, PathArguments::AngleBracketed(_)) => {
                match last.ident.to_string().as_str() {
                    "Box" | "Rc" | "Arc" | "Cow" | "Weak" => "it carries a pointer into the image that made it",
                    "HashMap" | "BTreeMap" | "HashSet" | "BTreeSet" | "VecDeque" => {
                        "its memory belongs to the image that made it"
                    }
                    _ => return Ok(()),
                }
            }
            _ => return Ok(()),
        },
        _ => return Ok(()),
    };
    let text = quote::quote!(#of).to_string().replace(" < ", "<").replace(" >", ">");
    Err(Error::new(of.span(), format!("`{text}` may not cross: {why}; {instead}")))
}
