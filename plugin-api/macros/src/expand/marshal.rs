//! What `#[interface]` expands to for calls as bytes: the stubs, which are the caller's side, and the dispatch, which is the
//! callee's. The `marshal` module of `reslot-plugin-api` says what the bytes are and why this is sound.

use super::boundary::{in_registers, out_wire, wire};
use crate::read::{Argument, Interface, Method, Passed, Returns};
use proc_macro2::{Literal, Span, TokenStream};
use quote::{format_ident, quote_spanned};
use syn::{Ident, Type, spanned::Spanned};

/// A table of functions that encode their arguments, and decode what is replied. They are generic, so that they are compiled
/// only for a side that uses them.
pub(super) fn stubs(interface: &Interface, table: &Ident) -> TokenStream {
    let count = interface.methods.len();
    let idents: Vec<_> = interface.methods.iter().map(|method| &method.name).collect();
    let names: Vec<_> = idents.iter().map(|ident| format_ident!("__stub_{}", ident)).collect();
    let functions = interface
        .methods
        .iter()
        .zip(&names)
        .enumerate()
        .map(|(index, (method, name))| stub(method, name, index));
    quote! {
        impl<__Only: 'static> ::reslot_plugin_api::__private::StubsFor<__Only> for #table {
            const STUBS: &'static Self = &Self {
                __functions: #count,
                #(#idents: Self::#names::<__Only>,)*
            };
        }

        #[allow(improper_ctypes_definitions, clippy::all)]
        impl #table {
            #(#functions)*
        }
    }
}

fn stub(method: &Method, name: &Ident, index: usize) -> TokenStream {
    let index = index_of(index);
    let parameters = method.arguments.iter().map(|argument| {
        let (name, wire) = (&argument.name, wire(argument));
        let mutable = matches!(argument.passed, Passed::Slice { mutable: true, .. }).then(|| quote!(mut));
        quote!(#mutable #name: #wire)
    });
    let out = out_wire(&method.returns);
    let call = match &method.returns {
        Returns::Copied(of) => {
            let entries = method.arguments.iter().filter_map(entry);
            let encode = method
                .arguments
                .iter()
                .scan(0_usize, |lent, argument| Some(encode(argument, lent)));
            let new_value = method
                .arguments
                .iter()
                .enumerate()
                .filter_map(|(at, argument)| take_back(argument, at));
            let keep = method
                .arguments
                .iter()
                .enumerate()
                .filter_map(|(at, argument)| give_back(argument, at));
            let decode = quote_spanned!(of.span()=> <#of as ::reslot_plugin_api::Returned>::decode);
            quote! {{
                // SAFETY: an argument is live for the call, and borrowed as the method's signature says.
                let __entries = unsafe { [#(#entries),*] };
                let mut __marshal = |__step: ::reslot_plugin_api::__private::marshal::MarshalStep<'_, '_>| {
                    match __step {
                        ::reslot_plugin_api::__private::marshal::MarshalStep::Encode(__into) => { #(#encode)* }
                        ::reslot_plugin_api::__private::marshal::MarshalStep::Decode(__from) => {
                            let __value = #decode(__from)?;
                            #(#new_value)*
                            __from.finish()?;
                            #(#keep)*
                            // SAFETY: the caller has given room for the value.
                            unsafe { __out.write(__value) };
                        }
                    }
                    ::core::result::Result::Ok(())
                };
                // SAFETY: the caller passes the object of this table; the value is written above.
                unsafe { ::reslot_plugin_api::__private::marshal::call_stub(__data, #index, &__entries, &mut __marshal) }
            }}
        }
        // SAFETY, in what is generated: as above.
        _ => quote!(unsafe { ::reslot_plugin_api::__private::marshal::fail_unsupported(__data, #index) }),
    };
    match in_registers(&method.returns) {
        true => quote! {
            #[allow(unused_variables, unused_mut, unused_unsafe)]
            unsafe extern "C" fn #name<__Only>(
                __data: *mut (), #(#parameters,)*
            ) -> ::reslot_plugin_api::__private::Answer<#out> {
                let mut __value = ::core::mem::MaybeUninit::<#out>::uninit();
                let __out = __value.as_mut_ptr();
                let __status = #call;
                ::reslot_plugin_api::__private::Answer { status: __status, value: __value }
            }
        },
        false => quote! {
            #[allow(unused_variables, unused_mut, unused_unsafe)]
            unsafe extern "C" fn #name<__Only>(
                __data: *mut (), #(#parameters,)* __out: *mut #out,
            ) -> ::reslot_plugin_api::__private::Status {
                #call
            }
        },
    }
}

/// A function of `Crossing`, by its path: so an error about the type is the same as that of the description, and is shown once.
fn crossing(of: &Type, function: &str) -> TokenStream {
    let function = format_ident!("{function}");
    quote_spanned!(of.span()=> <#of as ::reslot_plugin_api::Crossing>::#function)
}

fn index_of(index: usize) -> Literal {
    Literal::u32_suffixed(u32::try_from(index).unwrap_or(u32::MAX))
}

fn entry(argument: &Argument) -> Option<TokenStream> {
    let name = &argument.name;
    match &argument.passed {
        Passed::Interface { mutable, of } => {
            let lent = quote_spanned!(of.span()=> <#of as ::reslot_plugin_api::Interface>::lent);
            Some(quote!(#lent(#name, #mutable)))
        }
        _ => None,
    }
}

/// The caller's side: writes an argument.
fn encode(argument: &Argument, lent: &mut usize) -> TokenStream {
    let name = &argument.name;
    match &argument.passed {
        Passed::Value => {
            let encode = crossing(&argument.of, "encode_value");
            quote!(#encode(&#name, __into)?;)
        }
        Passed::Str => quote!(__into.text(#name.as_str())?;),
        Passed::Ref { of, .. } => {
            let encode = crossing(of, "encode_value");
            quote!(#encode(&*#name, __into)?;)
        }
        Passed::Slice { of, .. } => {
            let encode = crossing(of, "encode_slice");
            quote!(#encode(#name.as_slice(), __into)?;)
        }
        Passed::Interface { .. } => {
            let index = *lent;
            *lent += 1;
            quote!(__into.lent(#index)?;)
        }
    }
}

fn new_value_name(at: usize) -> Ident {
    format_ident!("__back_{at}", span = Span::mixed_site())
}

/// The caller's side: reads and checks the new value of a `&mut` argument.
fn take_back(argument: &Argument, at: usize) -> Option<TokenStream> {
    let (name, new_value) = (&argument.name, new_value_name(at));
    match &argument.passed {
        Passed::Ref { mutable: true, of } => {
            let decode = crossing(of, "decode_value");
            Some(quote!(let #new_value = #decode(__from)?;))
        }
        Passed::Slice { mutable: true, of } => {
            let decode = crossing(of, "decode_new_values");
            Some(quote!(let #new_value = #decode(__from, #name.len())?;))
        }
        _ => None,
    }
}

/// The caller's side: writes the new value, after the whole reply was checked.
fn give_back(argument: &Argument, at: usize) -> Option<TokenStream> {
    let (name, new_value) = (&argument.name, new_value_name(at));
    match &argument.passed {
        Passed::Ref { mutable: true, .. } => Some(quote!(*#name = #new_value;)),
        Passed::Slice { mutable: true, .. } => Some(quote!(#new_value.copy_to(#name.as_mut_slice());)),
        _ => None,
    }
}

/// The function that calls a method of this index through the ordinary table.
pub(super) fn dispatch(interface: &Interface, table: &Ident) -> TokenStream {
    let methods = interface
        .methods
        .iter()
        .enumerate()
        .map(|(index, method)| dispatched(method, table, index));
    quote! {
        #[inline]
        #[allow(clippy::all)]
        unsafe fn dispatch(
            __object: ::reslot_plugin_api::__private::Passed,
            __method: u32,
            __context: ::reslot_plugin_api::__private::marshal::CallContext<'_>,
            __request: &[u8],
            __reply: &mut dyn ::reslot_plugin_api::__private::marshal::ReplyBuffer,
        ) -> ::core::result::Result<
            ::reslot_plugin_api::__private::Status,
            ::reslot_plugin_api::__private::marshal::MarshalError,
        > {
            let mut __from = ::reslot_plugin_api::__private::marshal::Decoder::new(__request);
            match __method {
                #(#methods)*
                _ => ::core::result::Result::Err(
                    ::reslot_plugin_api::__private::marshal::MarshalError::Method { index: __method },
                ),
            }
        }
    }
}

fn dispatched(method: &Method, table: &Ident, index: usize) -> TokenStream {
    let (ident, literal) = (&method.name, index_of(index));
    let Returns::Copied(of) = &method.returns else {
        return quote! {
            #literal => ::core::result::Result::Err(
                ::reslot_plugin_api::__private::marshal::MarshalError::Borrowed { index: __method },
            ),
        };
    };
    // A table of an older build may lack the method.
    let missing = method.since.map(|_| {
        quote! {
            // SAFETY: the caller passes a live table.
            if !unsafe { ::reslot_plugin_api::__private::table_has(__object.table(), #index) } {
                return ::core::result::Result::Err(
                    ::reslot_plugin_api::__private::marshal::MarshalError::Method { index: __method },
                );
            }
        }
    });
    let receive = method.arguments.iter().map(receive);
    let received = method.arguments.iter().map(received);
    let new_value = method.arguments.iter().filter_map(encode_new_value);
    let out = out_wire(&method.returns);
    let encode = quote_spanned!(of.span()=> <#of as ::reslot_plugin_api::Returned>::encode);
    let call = match in_registers(&method.returns) {
        true => quote! {
            let __answer = unsafe { ((*__table).#ident)(__object.data(), #(#received,)*) };
            let (__status, __out) = (__answer.status, __answer.value);
        },
        false => quote! {
            let mut __out = ::core::mem::MaybeUninit::<#out>::uninit();
            let __status = unsafe { ((*__table).#ident)(__object.data(), #(#received,)* __out.as_mut_ptr()) };
        },
    };
    quote! {
        #literal => {
            #missing
            #(#receive)*
            __from.finish()?;
            let __table = __object.table().cast::<#table>();
            // SAFETY: the caller passes an object with its table, borrowed as the receiver says; the table has this function.
            #call
            if __status != ::reslot_plugin_api::__private::Status::OK {
                return ::core::result::Result::Ok(__status);
            }
            // SAFETY: the status says that the value was written.
            let __value = unsafe { __out.assume_init() };
            __reply.put(|__into| {
                #encode(&__value, __into)?;
                #(#new_value)*
                ::core::result::Result::Ok(())
            })?;
            ::core::result::Result::Ok(__status)
        }
    }
}

/// The callee's side: reads and checks an argument.
fn receive(argument: &Argument) -> TokenStream {
    let name = &argument.name;
    match &argument.passed {
        Passed::Value => {
            let decode = crossing(&argument.of, "decode_value");
            quote!(let #name = #decode(&mut __from)?;)
        }
        Passed::Str => quote!(let #name = __from.text()?;),
        Passed::Ref { mutable, of } => {
            let (decode, mutable) = (crossing(of, "decode_value"), mutable.then(|| quote!(mut)));
            quote!(let #mutable #name = #decode(&mut __from)?;)
        }
        Passed::Slice { mutable: false, of } => {
            let decode = crossing(of, "decode_slice");
            quote!(let #name = #decode(&mut __from)?;)
        }
        Passed::Slice { mutable: true, of } => {
            let decode = crossing(of, "decode_slice_mut");
            quote!(let mut #name = #decode(&mut __from)?;)
        }
        Passed::Interface { of, .. } => {
            let remote = quote_spanned!(of.span()=> <#of as ::reslot_plugin_api::Interface>::remote);
            quote!(let #name = #remote(&mut __from, __context)?;)
        }
    }
}

/// The callee's side: the argument as the table's function takes it.
fn received(argument: &Argument) -> TokenStream {
    let name = &argument.name;
    match &argument.passed {
        Passed::Value => quote!(#name),
        Passed::Str => quote!(::reslot_plugin_api::__private::RStr::from_str(#name)),
        Passed::Ref { mutable: false, .. } => quote!(&#name),
        Passed::Ref { mutable: true, .. } => quote!(&mut #name),
        Passed::Slice { mutable: false, .. } => quote!(::reslot_plugin_api::__private::RSlice::from_slice(&*#name)),
        Passed::Slice { mutable: true, .. } => {
            quote!(::reslot_plugin_api::__private::RSliceMut::from_mut_slice(&mut *#name))
        }
        Passed::Interface { .. } => quote!(#name.passed()),
    }
}

/// The callee's side: writes the new value of a `&mut` argument.
fn encode_new_value(argument: &Argument) -> Option<TokenStream> {
    let name = &argument.name;
    match &argument.passed {
        Passed::Ref { mutable: true, of } => {
            let encode = crossing(of, "encode_value");
            Some(quote!(#encode(&#name, __into)?;))
        }
        Passed::Slice { mutable: true, of } => {
            let encode = crossing(of, "encode_slice");
            Some(quote!(#encode(&*#name, __into)?;))
        }
        _ => None,
    }
}
