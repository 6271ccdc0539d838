//! How one argument and one result cross the boundary: the type in which they cross, and the conversions on the caller's and
//! the callee's side.

use crate::read::{Argument, Method, Passed, Returns};
use proc_macro2::{Span, TokenStream};
use quote::quote_spanned;
use syn::spanned::Spanned;

/// The type in which an argument crosses.
pub(super) fn wire(argument: &Argument) -> TokenStream {
    match &argument.passed {
        Passed::Value => {
            let of = &argument.of;
            quote!(#of)
        }
        Passed::Str => quote!(::reslot_plugin_api::__private::RStr<'_>),
        Passed::Ref { mutable: false, of } => quote!(&#of),
        Passed::Ref { mutable: true, of } => quote!(&mut #of),
        Passed::Slice { mutable: false, of } => quote!(::reslot_plugin_api::__private::RSlice<'_, #of>),
        Passed::Slice { mutable: true, of } => quote!(::reslot_plugin_api::__private::RSliceMut<'_, #of>),
        Passed::Interface { .. } => quote!(::reslot_plugin_api::__private::Passed),
    }
}

/// The caller's side: makes the `Lent` of an interface argument, under the argument's own name.
pub(super) fn lend(argument: &Argument) -> TokenStream {
    let name = &argument.name;
    match &argument.passed {
        Passed::Interface { mutable, of } => {
            let object = quote!(*mut (#of + 'static));
            let lent = match mutable {
                true => quote!(::core::mem::transmute::<&mut (#of + '_), #object>(#name)),
                false => quote!(::core::mem::transmute::<&(#of + '_), *const (#of + 'static)>(#name).cast_mut()),
            };
            quote! {
                // SAFETY: the lifetime is erased for the length of this call, which outlives neither the borrow nor the Lent.
                let #name = unsafe { ::reslot_plugin_api::__private::Lent::<#of>::new(#lent) };
            }
        }
        _ => quote!(),
    }
}

/// The caller's side: the argument as it crosses.
pub(super) fn pass(argument: &Argument) -> TokenStream {
    let name = &argument.name;
    match &argument.passed {
        Passed::Value | Passed::Ref { .. } => quote!(#name),
        Passed::Str => quote!(::reslot_plugin_api::__private::RStr::from_str(#name)),
        Passed::Slice { mutable: false, .. } => quote!(::reslot_plugin_api::__private::RSlice::from_slice(#name)),
        Passed::Slice { mutable: true, .. } => quote!(::reslot_plugin_api::__private::RSliceMut::from_mut_slice(#name)),
        Passed::Interface { of, .. } => {
            let pass = quote_spanned!(of.span()=> ::reslot_plugin_api::__private::Lent::<#of>::pass);
            quote!(#pass(&#name))
        }
    }
}

/// The caller's side after a failed call. If a lent object panicked, its panic continues; its own rather than one that only went
/// through it. If the callee itself panicked, the
/// call failed because of the callee, even if a lent object was involved: the callee may have lent it an object that
/// panicked.
pub(super) fn resume(method: &Method) -> Option<TokenStream> {
    let lent: Vec<_> = method
        .arguments
        .iter()
        .filter(|argument| matches!(argument.passed, Passed::Interface { .. }))
        .map(|argument| &argument.name)
        .collect();
    (!lent.is_empty()).then(|| {
        quote! {
            if __status == ::reslot_plugin_api::__private::Status::CALLBACK {
                #(#lent.resume_own_panic();)*
                #(#lent.resume_panic();)*
            }
        }
    })
}

/// The callee's side: makes the proxy of an interface argument.
pub(super) fn receive(argument: &Argument) -> TokenStream {
    let name = &argument.name;
    match &argument.passed {
        Passed::Interface { mutable, of } => {
            let mutable = mutable.then(|| quote!(mut));
            let proxy = quote_spanned!(of.span()=> <#of as ::reslot_plugin_api::Interface>::proxy);
            quote!(let #mutable #name = #proxy(#name);)
        }
        _ => quote!(),
    }
}

/// The callee's side: the argument as the trait takes it.
pub(super) fn received(argument: &Argument) -> TokenStream {
    let name = &argument.name;
    match &argument.passed {
        Passed::Value | Passed::Ref { .. } => quote!(#name),
        Passed::Str => quote!(#name.as_str()),
        Passed::Slice { mutable: false, .. } => quote!(#name.as_slice()),
        Passed::Slice { mutable: true, .. } => quote!(#name.into_mut_slice()),
        Passed::Interface { mutable: false, .. } => quote!(&#name),
        Passed::Interface { mutable: true, .. } => quote!(&mut #name),
    }
}

/// Like `receive`, for a default body that runs on the caller's side, where the argument is still a `Lent`.
pub(super) fn receive_lent(argument: &Argument) -> TokenStream {
    let name = &argument.name;
    match &argument.passed {
        Passed::Interface { mutable, of } => {
            let mutable = mutable.then(|| quote!(mut));
            let proxy = quote_spanned!(of.span()=> <#of as ::reslot_plugin_api::Interface>::proxy);
            quote!(let #mutable #name = #proxy(::reslot_plugin_api::__private::Lent::pass(&#name));)
        }
        _ => quote!(),
    }
}

/// Like `received`, for a default body that runs on the caller's side, where the other arguments have not crossed.
pub(super) fn received_lent(argument: &Argument) -> TokenStream {
    match &argument.passed {
        Passed::Interface { .. } => received(argument),
        _ => {
            let name = &argument.name;
            quote!(#name)
        }
    }
}

/// The type of the value as it crosses.
pub(super) fn out_wire(returns: &Returns) -> TokenStream {
    match returns {
        Returns::Copied(of) => quote_spanned!(of.span()=> <#of as ::reslot_plugin_api::Returned>::Wire),
        Returns::Str(_) => quote!(::reslot_plugin_api::__private::RStr<'static>),
        Returns::Slice(of, _) => quote!(::reslot_plugin_api::__private::RSlice<'static, #of>),
        Returns::Ref(of, _) => quote!(*const #of),
    }
}

/// Whether the value is returned in registers beside the status, and not through an out pointer, which would cost some
/// nanoseconds for a number. The written form of the type decides, and the description records it: a side with an alias does
/// not fit a side without one.
pub(super) fn in_registers(returns: &Returns) -> bool {
    let Returns::Copied(syn::Type::Path(of)) = returns else {
        return false;
    };
    let of = of.path.get_ident().map(ToString::to_string);
    of.is_some_and(|of| SCALARS.contains(&of.as_str()))
}

const SCALARS: [&str; 12] = [
    "bool", "u8", "u16", "u32", "u64", "usize", "i8", "i16", "i32", "i64", "f32", "f64",
];

/// The callee's side: writes `__value` to `__out`. A borrow's lifetime is erased here and given back, bound to the receiver,
/// by the signature of the client or proxy.
pub(super) fn write_out(returns: &Returns) -> TokenStream {
    match returns {
        Returns::Copied(of) => {
            let into_wire = quote_spanned!(of.span()=> <#of as ::reslot_plugin_api::Returned>::into_wire);
            quote!(__out.write(#into_wire(__value));)
        }
        Returns::Str(_) => quote! {
            __out.write(::reslot_plugin_api::__private::RStr::from_str(::core::mem::transmute::<&str, &'static str>(__value)));
        },
        Returns::Slice(of, _) => quote! {
            __out.write(::reslot_plugin_api::__private::RSlice::from_slice(
                ::core::mem::transmute::<&[#of], &'static [#of]>(__value),
            ));
        },
        Returns::Ref(of, _) => quote!(__out.write(&raw const *(__value as &#of));),
    }
}

/// The caller's side: the value from `__wire`.
pub(super) fn read_out(returns: &Returns) -> TokenStream {
    match returns {
        Returns::Copied(of) => {
            let copy_out = quote_spanned!(of.span()=> <#of as ::reslot_plugin_api::Returned>::copy_out);
            quote!({
                // SAFETY: the wire form is only dropped afterwards.
                unsafe { #copy_out(&__wire) }
            })
        }
        Returns::Str(_) => quote!(__wire.as_str()),
        Returns::Slice(..) => quote!(__wire.as_slice()),
        Returns::Ref(..) => quote!({
            // SAFETY: the callee wrote a reference bound to the receiver's borrow, which is this method's.
            unsafe { &*__wire }
        }),
    }
}
