//! Parses a trait as an interface, and refuses what an interface must not contain, with the reason and the remedy.

use proc_macro2::Span;
use quote::{ToTokens, format_ident};
use syn::{
    Attribute, Block, Error, FnArg, Ident, ItemTrait, LitStr, Pat, Receiver, Result, ReturnType, TraitItem, Type,
    Visibility,
    parse::{Parse, ParseStream},
    spanned::Spanned,
};

mod types;

pub(crate) use types::{Passed, Returns};
use types::{bare, passed, returns};

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
    let shared_at_first = !methods.iter().any(|method| method.mutable && method.since.is_none());
    if let Some(method) = methods.iter().find(|method| shared_at_first && method.mutable) {
        return Err(Error::new_spanned(
            &method.name,
            format!(
                "`{}` takes `&mut self`, and no method without #[since] does: hosts of the first version share this interface \
                 between threads, so what comes later takes `&self`, or the interface gets a new major version",
                method.name
            ),
        ));
    }
    Ok(Interface {
        vis: item.vis.clone(),
        name: item.ident.clone(),
        item,
        major,
        minor,
        methods,
    })
}

/// Reads one method. The body of a `#[since]` method moves into a hidden method, which the default calls. So the host's side
/// can run the default body for a plugin whose table lacks the method.
fn method(own: &Ident, function: &mut syn::TraitItemFn) -> Result<(Method, Option<syn::TraitItemFn>)> {
    let signature = &function.sig;
    refuse_cfg(&function.attrs)?;
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
        // A receiver with lifetime `'static` would let safe code keep the instance beyond its end.
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
    // The method's own `self` token is used, because a new one would have another hygiene if the trait comes from a macro.
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

/// The generated code would not follow the condition.
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

/// Source text for an error message, formatted as a person would write it.
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
