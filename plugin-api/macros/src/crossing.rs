//! `derive(Crossing)`: which types are plain, and their layout as a constant.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::{Data, DeriveInput, Error, Fields, Result, spanned::Spanned};

pub(crate) fn derive(item: &DeriveInput) -> Result<TokenStream> {
    if !item.generics.params.is_empty() {
        return Err(Error::new(
            item.generics.span(),
            "a `Crossing` type has no generic parameters and no lifetimes: both sides must know its one layout",
        ));
    }
    let repr = representation(item)?;
    let name = &item.ident;
    let text = name.to_string();
    let kind = match &item.data {
        Data::Struct(data) => {
            if !repr.iter().any(|word| word == "C" || word == "transparent") {
                return Err(Error::new(
                    name.span(),
                    format!(
                        "`{name}` needs #[repr(C)]: without it the compiler may lay out its fields differently in each build"
                    ),
                ));
            }
            structure(&data.fields)
        }
        Data::Enum(data) => {
            if let Some(variant) = data.variants.iter().find(|variant| !matches!(variant.fields, Fields::Unit)) {
                return Err(Error::new(
                    variant.span(),
                    "a variant with fields cannot cross: use a struct with a kind and its values, or a `Result` or `Option` as result",
                ));
            }
            if !repr.iter().any(|word| is_integer(word)) {
                return Err(Error::new(
                    name.span(),
                    format!("`{name}` needs a fixed representation such as #[repr(u8)]"),
                ));
            }
            let variants = data.variants.iter().map(|variant| {
                let ident = &variant.ident;
                let text = ident.to_string();
                quote!(::reslot_plugin_api::description::Variant { name: #text, value: #name::#ident as i64 })
            });
            quote!(::reslot_plugin_api::description::Kind::Enum(&[#(#variants),*]))
        }
        Data::Union(_) => {
            return Err(Error::new(
                name.span(),
                "a union cannot cross: nothing says which field is meant",
            ));
        }
    };
    let dropped = format!("`{name}` has something to drop; a `Crossing` type is plain bytes");
    Ok(quote! {
        const _: () = ::core::assert!(!::core::mem::needs_drop::<#name>(), #dropped);
        // SAFETY: the representation is fixed, every field is `Crossing` (the description below asks for it), and there is
        // nothing to drop.
        unsafe impl ::reslot_plugin_api::Crossing for #name {
            const DESCRIPTION: &'static ::reslot_plugin_api::description::Type = &::reslot_plugin_api::description::Type {
                name: #text,
                size: ::core::mem::size_of::<#name>(),
                align: ::core::mem::align_of::<#name>(),
                kind: #kind,
            };
        }
    })
}

fn structure(fields: &Fields) -> TokenStream {
    let fields = fields.members().zip(fields.iter()).map(|(member, field)| {
        let text = match &member {
            syn::Member::Named(ident) => ident.to_string(),
            syn::Member::Unnamed(index) => index.index.to_string(),
        };
        let of = &field.ty;
        let described = quote_spanned!(of.span()=> <#of as ::reslot_plugin_api::Crossing>::DESCRIPTION);
        quote!(::reslot_plugin_api::description::Field {
            name: #text,
            offset: ::core::mem::offset_of!(Self, #member),
            of: #described,
        })
    });
    quote!(::reslot_plugin_api::description::Kind::Struct(&[#(#fields),*]))
}

fn representation(item: &DeriveInput) -> Result<Vec<String>> {
    let mut words = Vec::new();
    for attribute in item.attrs.iter().filter(|attribute| attribute.path().is_ident("repr")) {
        attribute.parse_nested_meta(|meta| {
            if meta.path.is_ident("packed") {
                return Err(meta.error("a packed type cannot cross: its fields cannot be borrowed"));
            }
            words.extend(meta.path.get_ident().map(ToString::to_string));
            if meta.input.peek(syn::token::Paren) {
                let inner;
                syn::parenthesized!(inner in meta.input);
                inner.parse::<TokenStream>()?;
            }
            Ok(())
        })?;
    }
    Ok(words)
}

fn is_integer(word: &str) -> bool {
    matches!(word, "u8" | "u16" | "u32" | "i8" | "i16" | "i32" | "i64")
}
