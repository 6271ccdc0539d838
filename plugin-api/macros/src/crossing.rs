//! `derive(Crossing)`: which types are plain, and their layout as a constant.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::{Data, DeriveInput, Error, Fields, Result, ext::IdentExt, spanned::Spanned};

pub(crate) fn derive(item: &DeriveInput) -> Result<TokenStream> {
    if !item.generics.params.is_empty() {
        return Err(Error::new_spanned(
            &item.generics,
            format!(
                "`{}` has generic parameters or lifetimes, and a `Crossing` type has one layout and borrows nothing: write a \
                 struct with the values in it for each use",
                item.ident
            ),
        ));
    }
    let repr = representation(item)?;
    let name = &item.ident;
    let text = name.unraw().to_string();
    let (kind, bytes) = match &item.data {
        Data::Struct(data) => {
            if !repr.iter().any(|word| word == "C" || word == "transparent") {
                return Err(Error::new(
                    name.span(),
                    format!(
                        "`{name}` needs #[repr(C)]: without it the compiler may lay out its fields differently in each build"
                    ),
                ));
            }
            (structure(&data.fields), bytes_of_structure(&data.fields))
        }
        Data::Enum(data) => {
            if let Some(variant) = data.variants.iter().find(|variant| !matches!(variant.fields, Fields::Unit)) {
                return Err(Error::new_spanned(
                    variant,
                    format!(
                        "`{name}::{}` has fields, and a variant with fields may not cross: use a struct with a kind and its \
                         values, or a `Result` or `Option` as result",
                        variant.ident
                    ),
                ));
            }
            let Some(integer) = repr.iter().find(|word| is_integer(word)) else {
                return Err(Error::new(
                    name.span(),
                    format!("`{name}` needs a fixed representation such as #[repr(u8)]"),
                ));
            };
            let variants = data.variants.iter().map(|variant| {
                let ident = &variant.ident;
                let text = ident.unraw().to_string();
                quote!(::reslot_plugin_api::description::Variant { name: #text, value: #name::#ident as i64 })
            });
            let kind = quote!(::reslot_plugin_api::description::Kind::Enum(&[#(#variants),*]));
            let variants = data.variants.iter().map(|variant| &variant.ident);
            (kind, bytes_of_enumeration(name, integer, variants))
        }
        Data::Union(_) => {
            return Err(Error::new(
                name.span(),
                format!("`{name}` is a union and may not cross: nothing says which field is meant; use a #[repr(C)] struct"),
            ));
        }
    };
    let dropped = format!(
        "`{name}` has something to drop, and a `Crossing` type is plain bytes: take its `Drop` away, and what owns something"
    );
    let every_field = match &item.data {
        Data::Struct(data) => every_field(name, &data.fields),
        _ => TokenStream::new(),
    };
    Ok(quote! {
        #every_field
        const _: () = ::core::assert!(!::core::mem::needs_drop::<#name>(), #dropped);
        // SAFETY: the representation is fixed, every field is `Crossing` (the description below asks for it), and there is
        // nothing to drop.
        #[diagnostic::do_not_recommend]
        unsafe impl ::reslot_plugin_api::Crossing for #name {
            const DESCRIPTION: &'static ::reslot_plugin_api::description::Type = &::reslot_plugin_api::description::Type {
                name: #text,
                size: ::core::mem::size_of::<#name>(),
                align: ::core::mem::align_of::<#name>(),
                kind: #kind,
            };

            #bytes
        }
    })
}

/// How the bytes of a struct are checked and written, field by field.
fn bytes_of_structure(fields: &Fields) -> TokenStream {
    let types: Vec<_> = fields.iter().map(|field| &field.ty).collect();
    let places: Vec<_> = fields
        .members()
        .zip(&types)
        .map(|(member, of)| {
            quote!([::core::mem::offset_of!(Self, #member)..::core::mem::offset_of!(Self, #member) + ::core::mem::size_of::<#of>()])
        })
        .collect();
    let members = fields.members();
    quote! {
        const IS_POD: bool = 0 #(+ ::core::mem::size_of::<#types>())* == ::core::mem::size_of::<Self>()
            #(&& <#types as ::reslot_plugin_api::Crossing>::IS_POD)*;

        #[inline]
        fn valid_bytes(
            __bytes: &[u8],
        ) -> ::core::result::Result<(), ::reslot_plugin_api::__private::marshal::Invalid> {
            #(<#types as ::reslot_plugin_api::Crossing>::valid_bytes(&__bytes #places)?;)*
            ::core::result::Result::Ok(())
        }

        #[inline]
        fn put_bytes(&self, __bytes: &mut [u8]) {
            #(<#types as ::reslot_plugin_api::Crossing>::put_bytes(&self.#members, &mut __bytes #places);)*
        }
    }
}

/// How the bytes of an enum are checked and written.
fn bytes_of_enumeration<'a>(
    name: &syn::Ident,
    integer: &str,
    variants: impl Iterator<Item = &'a syn::Ident> + Clone,
) -> TokenStream {
    let integer = quote::format_ident!("{integer}");
    let known = variants.clone();
    quote! {
        const IS_POD: bool = false;

        #[inline]
        fn valid_bytes(
            __bytes: &[u8],
        ) -> ::core::result::Result<(), ::reslot_plugin_api::__private::marshal::Invalid> {
            let __tag = #integer::from_ne_bytes(::reslot_plugin_api::__private::marshal::to_array(
                &__bytes[..::core::mem::size_of::<#integer>()],
            ));
            match false #(|| __tag == #name::#known as #integer)* {
                true => ::core::result::Result::Ok(()),
                false => ::core::result::Result::Err(::reslot_plugin_api::__private::marshal::Invalid),
            }
        }

        #[inline]
        fn put_bytes(&self, __bytes: &mut [u8]) {
            let __tag = match self {
                #(#name::#variants => #name::#variants as #integer,)*
            };
            // With `repr(align)` the value is longer, and the rest is padding.
            __bytes[..::core::mem::size_of::<#integer>()].copy_from_slice(&__tag.to_ne_bytes());
        }
    }
}

/// Names every field, so that an attribute below the derive that adds one afterwards does not compile.
fn every_field(name: &syn::Ident, fields: &Fields) -> TokenStream {
    let members = fields.members();
    quote!(const _: fn(#name) = |#name { #(#members: _),* }| {};)
}

fn structure(fields: &Fields) -> TokenStream {
    let fields = fields.members().zip(fields.iter()).map(|(member, field)| {
        let text = match &member {
            syn::Member::Named(ident) => ident.unraw().to_string(),
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
                return Err(meta.error(format!(
                    "`{}` is packed and may not cross: its fields cannot be borrowed; use #[repr(C)] alone",
                    item.ident
                )));
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
