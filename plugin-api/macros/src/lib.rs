//! The macros of `reslot-plugin-api`: `#[interface]` and `derive(Crossing)`. That crate's `interface` module explains what
//! they expand to. This crate parses the source, and refuses types whose values could outlive their image.

mod crossing;
mod expand;
mod form;
mod read;

use proc_macro::TokenStream;
use syn::parse_macro_input;

/// Makes a trait an interface: a function table for plugins, a typed client for hosts, and a readable description.
///
/// ```ignore
/// #[interface]                       // version 1.0
/// pub trait Strategy {
///     fn on_tick(&mut self, tick: &Tick, orders: &mut dyn OrderSink);
///
///     #[since("1.1")]                // an older plugin lacks it: the default body runs instead
///     fn on_close(&mut self) {}
/// }
/// ```
///
/// For a trait `Strategy` it generates `StrategyClient`, which has the trait's methods, each returning
/// `Result<_, CallError>`. A host's `Claim<dyn Strategy>` or view dereferences to it.
///
/// Arguments may be `Crossing` values, `&T`, `&mut T`, `&[T]`, `&mut [T]` of them, `&str`, `&dyn Interface` and
/// `&mut dyn Interface`. Results may be `Crossing` values, `String`, `Vec`, `Option` and `Result` of those, and `&T`, `&[T]`
/// and `&str` that live as long as the borrow of the plugin. Anything else is a compile error that says what to use instead.
///
/// The version is `1.0`, or that of the newest `#[since]`; `#[interface(version = "2.0")]` sets it. Methods with `#[since]`
/// come last, oldest first, each with a default body. A different major version is a different contract.
#[proc_macro_attribute]
pub fn interface(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let arguments = parse_macro_input!(arguments as read::Arguments);
    let item = parse_macro_input!(item as syn::ItemTrait);
    let written = item.clone();
    read::interface(arguments, item)
        .map(|interface| expand::interface(&interface))
        .unwrap_or_else(|error| {
            // The trait itself is kept, so that its implementations do not cause more errors.
            let (error, written) = (error.into_compile_error(), read::without_since(written));
            quote::quote!(#error #written)
        })
        .into()
}

/// Makes a type cross between host and plugin as plain bytes.
///
/// For `#[repr(C)]` structs of `Crossing` fields, and for enums without fields that have a fixed representation such as
/// `#[repr(u8)]`. The layout, field by field, becomes part of the interface's description: a host refuses a plugin that was
/// built with another layout.
#[proc_macro_derive(Crossing)]
pub fn crossing(item: TokenStream) -> TokenStream {
    let item = parse_macro_input!(item as syn::DeriveInput);
    crossing::derive(&item).unwrap_or_else(syn::Error::into_compile_error).into()
}

/// For `export_plugin!`: returns the tokens of `loadable { … }` or `linkable { … }`, depending on the form in which the
/// crate is compiled.
#[doc(hidden)]
#[proc_macro]
pub fn by_form(forms: TokenStream) -> TokenStream {
    form::choose(forms)
}
