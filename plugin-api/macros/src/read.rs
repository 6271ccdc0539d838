//! Reading a trait as an interface, and refusing, with the reason and the remedy, what may not stand in one.

use proc_macro2::{Span, TokenStream, TokenTree};
use quote::{ToTokens, format_ident};
use syn::{
    Attribute, Block, Error, FnArg, GenericArgument, Ident, ItemTrait, Lifetime, LitStr, Pat, PathArguments, Receiver,
    Result, ReturnType, TraitItem, Type, TypeParamBound, Visibility,
    parse::{Parse, ParseStream},
    spanned::Spanned,
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
            item.ident.span(),
            format!(
                "`{}` has generic parameters or bounds, and an interface is one function table: write the types out",
                item.ident
            ),
        ));
    }
    if !item.supertraits.is_empty() {
        return Err(Error::new_spanned(
            &item.supertraits,
            format!(
                "`{}` is a supertrait, and an interface has none: write the methods that are needed into `{}`; `Send` (and `Sync`, \
                 if every method takes `&self`) is asked of its plugins anyway",
                text(&item.supertraits),
                item.ident
            ),
        ));
    }
    let own = item.ident.clone();
    let mut methods = Vec::new();
    let mut hidden = Vec::new();
    let mut newest = (1, 0);
    for item in &mut item.items {
        let TraitItem::Fn(function) = item else {
            return Err(Error::new_spanned(
                &item,
                format!(
                    "`{}` is not a method, and an interface has only methods: write types and constants beside the trait",
                    text(&item)
                ),
            ));
        };
        let (method, default) = method(&own, function)?;
        match (method.since, methods.last().and_then(|last: &Method| last.since)) {
            (None, Some(_)) => {
                return Err(Error::new(
                    method.name.span(),
                    format!(
                        "`{}` has no #[since] and stands after methods that have one: put it before them, or give it #[since] and a \
                         default body; the table grows at its end only",
                        method.name
                    ),
                ));
            }
            (Some(this), Some(last)) if this < last => {
                return Err(Error::new(
                    method.name.span(),
                    format!(
                        "`{}` is #[since(\"{}.{}\")] and stands after a method of {}.{}: put it before that one; the table grows \
                         at its end only",
                        method.name, this.0, this.1, last.0, last.1
                    ),
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
            if newest > (major, minor) && methods.iter().any(|method| method.since == Some(newest)) {
                return Err(Error::new(
                    span,
                    format!(
                        "a method is #[since(\"{0}.{1}\")], so the interface is at least version {0}.{1}: write that, or leave \
                         `version` out",
                        newest.0, newest.1
                    ),
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
fn method(own: &Ident, function: &mut syn::TraitItemFn) -> Result<(Method, Option<syn::TraitItemFn>)> {
    let signature = &function.sig;
    refuse_cfg(&function.attrs)?;
    if signature.ident == "sync" {
        return Err(Error::new_spanned(
            &signature.ident,
            "`sync` is the name of the safe point of a host's `Claim`, which would hide the method: give it another name",
        ));
    }
    for (word, text) in [
        (signature.asyncness.map(|word| word.span()), "async"),
        (signature.unsafety.map(|word| word.span()), "unsafe"),
        (signature.constness.map(|word| word.span()), "const"),
        (signature.abi.as_ref().map(Spanned::span), "extern"),
    ] {
        if let Some(span) = word {
            return Err(Error::new(
                span,
                format!(
                    "`{}` is {text}, and a call across the boundary is a plain one: write `fn {0}`",
                    signature.ident
                ),
            ));
        }
    }
    if !signature.generics.params.is_empty() {
        return Err(Error::new_spanned(
            &signature.generics,
            format!(
                "`{}` has generic parameters or named lifetimes, and it is one function in a table: write the types out, and \
                 leave the lifetimes out; what it answers borrows from `self` only",
                signature.ident
            ),
        ));
    }
    if let Some(bounds) = &signature.generics.where_clause {
        return Err(Error::new_spanned(
            bounds,
            format!(
                "`{}` has a `where` clause, and it is one function in a table: leave the clause out",
                signature.ident
            ),
        ));
    }
    let receiver = receiver(signature)?;
    let mut arguments = Vec::new();
    for input in signature.inputs.iter().skip(1) {
        let FnArg::Typed(input) = input else { continue };
        refuse_cfg(&input.attrs)?;
        let name = match &*input.pat {
            Pat::Ident(name) if name.by_ref.is_none() && name.subpat.is_none() => &name.ident,
            pattern => {
                return Err(Error::new_spanned(
                    pattern,
                    format!("`{}` is a pattern: write a name, which may begin with `_`", text(pattern)),
                ));
            }
        };
        let of = bare(&input.ty);
        arguments.push(Argument {
            name: name.clone(),
            passed: passed(own, of)?,
            of: of.clone(),
        });
    }
    let returns = match &signature.output {
        ReturnType::Default => Returns::Copied(syn::parse_quote!(())),
        ReturnType::Type(_, of) => returns(bare(of))?,
    };
    let mutable = receiver.mutability.is_some();
    let since = since(&mut function.attrs)?;
    let default = match (since, &mut function.default) {
        (Some(_), Some(body)) => Some(hidden_default(own, &mut function.sig, body, &function.attrs, &arguments)),
        (Some(_), None) => {
            return Err(Error::new(
                function.sig.ident.span(),
                format!(
                    "`{}` has #[since] and no body: give it a default body, which runs for plugins that were built before the \
                     method existed",
                    function.sig.ident
                ),
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

fn receiver(signature: &syn::Signature) -> Result<&Receiver> {
    let name = &signature.ident;
    let Some(FnArg::Receiver(receiver)) = signature.inputs.first() else {
        return Err(Error::new(
            name.span(),
            format!("`{name}` has no receiver: a method of an interface takes `&self` or `&mut self`"),
        ));
    };
    match &receiver.reference {
        // A receiver that lives for ever would let safe code keep the instance beyond its end.
        Some((_, Some(lifetime))) if lifetime.ident != "_" => Err(Error::new_spanned(
            lifetime,
            format!("`{name}` borrows `self` for `{lifetime}`: leave the lifetime out, the borrow is the call's"),
        )),
        Some(_) if receiver.colon_token.is_none() => Ok(receiver),
        _ => Err(Error::new_spanned(
            receiver,
            format!(
                "`{name}` takes `{}`: a method of an interface takes `&self` or `&mut self`",
                text(receiver)
            ),
        )),
    }
}

fn hidden_default(
    own: &Ident,
    signature: &mut syn::Signature,
    body: &mut Block,
    attributes: &[Attribute],
    arguments: &[Argument],
) -> syn::TraitItemFn {
    let name = hidden_name(&signature.ident);
    let names = arguments.iter().map(|argument| &argument.name);
    // The method's own `self`: one that is made here would be another, if the trait comes from a macro.
    let this = match signature.inputs.first() {
        Some(FnArg::Receiver(receiver)) => receiver.self_token,
        _ => Default::default(),
    };
    let body = std::mem::replace(body, syn::parse_quote!({ <Self as #own>::#name(#this, #(#names),*) }));
    let mut hidden = signature.clone();
    hidden.ident = name;
    for input in &mut signature.inputs {
        if let FnArg::Typed(input) = input
            && let Pat::Ident(name) = &mut *input.pat
        {
            name.mutability = None;
        }
    }
    let lints = attributes.iter().filter(|attribute| attribute.path().is_ident("allow"));
    syn::parse_quote!(#[doc(hidden)] #(#lints)* #hidden #body)
}

pub(crate) fn hidden_name(method: &Ident) -> Ident {
    format_ident!("__default_{}", method)
}

/// What this macro generates would not follow the condition.
fn refuse_cfg(attributes: &[Attribute]) -> Result<()> {
    match attributes
        .iter()
        .find(|attribute| attribute.path().is_ident("cfg") || attribute.path().is_ident("cfg_attr"))
    {
        None => Ok(()),
        Some(attribute) => Err(Error::new_spanned(
            attribute,
            format!(
                "`{}` would make another interface of the same name and version: put the condition on the whole trait",
                text(attribute)
            ),
        )),
    }
}

/// Without the invisible groups of `macro_rules` and without parentheses.
fn bare(mut of: &Type) -> &Type {
    loop {
        of = match of {
            Type::Group(group) => &group.elem,
            Type::Paren(paren) => &paren.elem,
            _ => return of,
        }
    }
}

fn since(attributes: &mut Vec<Attribute>) -> Result<Option<(u16, u16)>> {
    let Some(at) = attributes.iter().position(|attribute| attribute.path().is_ident("since")) else {
        return Ok(None);
    };
    let text: LitStr = attributes.remove(at).parse_args()?;
    version(&text).map(Some)
}

/// The trait as the compiler knows it.
pub(crate) fn without_since(mut item: ItemTrait) -> ItemTrait {
    for item in &mut item.items {
        if let TraitItem::Fn(function) = item {
            function.attrs.retain(|attribute| !attribute.path().is_ident("since"));
        }
    }
    item
}

fn passed(own: &Ident, of: &Type) -> Result<Passed> {
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

/// `'_` says nothing more than no lifetime at all.
fn named(lifetime: &Option<Lifetime>) -> Option<&Lifetime> {
    lifetime.as_ref().filter(|lifetime| lifetime.ident != "_")
}

/// What to take instead of a pointer to a closure or to something that can be an interface.
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

/// `String` and `Vec` can be answered, but not taken: the callee would free the caller's memory.
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
            // Spelt with the author's own tokens: what is wrong with it is shown where it stands.
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

fn returns(of: &Type) -> Result<Returns> {
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

/// Names the well-known types that own or point to something of one image, also inside of `Option` and the like. What is not
/// known here is caught by the bound on `Crossing` or `Returned`.
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

fn has_self(tokens: TokenStream) -> bool {
    tokens.into_iter().any(|token| match token {
        TokenTree::Ident(ident) => ident == "Self",
        TokenTree::Group(group) => has_self(group.stream()),
        _ => false,
    })
}

/// Source as a person writes it, as far as a line of an error message needs.
fn text(source: &impl ToTokens) -> String {
    let mut text = source.to_token_stream().to_string();
    for (tokens, written) in [
        (" :: ", "::"),
        (" < ", "<"),
        (" >", ">"),
        (" ,", ","),
        (" ;", ";"),
        (" :", ":"),
        ("& ", "&"),
        ("* const", "*const"),
        ("* mut", "*mut"),
        ("fn (", "fn("),
        ("# [", "#["),
        (" (", "("),
    ] {
        text = text.replace(tokens, written);
    }
    text
}
