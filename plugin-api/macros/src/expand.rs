//! What `#[interface]` expands to: the trait as written, its function table for any implementor, the proxy for an object of
//! the other side, the client for the host, and the description. The argument for its soundness is in the `interface` module
//! of `reslot-plugin-api`.

use crate::read::{Interface, Method, Passed, Returns, hidden_name};
use proc_macro2::{Span, TokenStream};
use quote::{format_ident, quote_spanned};
use syn::{Ident, Type, ext::IdentExt, spanned::Spanned};

/// `quote!` with the hygiene of `macro_rules`: a local of the expansion never meets an argument of the same name.
macro_rules! quote {
    ($($tokens:tt)*) => { quote_spanned!(Span::mixed_site()=> $($tokens)*) };
}

// After the macro, which they use.
mod boundary;
mod marshal;

use boundary::{
    in_registers, lend, out_wire, pass, read_out, receive, receive_lent, received, received_lent, resume, wire, write_out,
};

pub(crate) fn interface(interface: &Interface) -> TokenStream {
    let Interface { item, name, .. } = interface;
    let names = Names {
        table: format_ident!("{}Table", name),
        proxy: format_ident!("{}Proxy", name),
        client: format_ident!("{}Client", name),
        interface: name.clone(),
    };
    let table = table(interface, &names);
    let proxy = proxy(interface, &names);
    let client = client(interface, &names);
    let stubs = marshal::stubs(interface, &names.table);
    let dispatch = marshal::dispatch(interface, &names.table);
    let description = description(interface);
    let Names {
        table: table_name,
        proxy: proxy_name,
        client: client_name,
        ..
    } = &names;
    let shared = interface.methods.iter().all(|method| !method.mutable);
    let sync = shared.then(|| quote!(+ ::core::marker::Sync));
    let shared = shared.then(|| {
        quote! {
            // SAFETY: every method takes `&self`, and `Implements` below asks `Sync` of every plugin.
            unsafe impl ::reslot_plugin_api::Shared for dyn #name {}
            // SAFETY: a client is only read through `&`, and the instance behind it is `Sync`.
            unsafe impl ::core::marker::Sync for #client_name {}
        }
    });
    quote! {
        #item
        #table
        #stubs
        #proxy
        #client

        // SAFETY: client, proxy and both tables are generated here from the same trait, over the one `repr(C)` table.
        #[diagnostic::do_not_recommend]
        unsafe impl ::reslot_plugin_api::Interface for dyn #name {
            type Client = #client_name;
            type Proxy<'a> = #proxy_name<'a>;
            const DESCRIPTION: &'static ::reslot_plugin_api::description::Interface = &#description;
            const BORROWED: *const () = (&raw const *#table_name::BORROWED).cast();

            #[inline(always)]
            fn client(connection: &::reslot_plugin_api::__private::Connection) -> &#client_name {
                // SAFETY: the client is `repr(transparent)` over this.
                unsafe { &*(&raw const *::reslot_plugin_api::__private::Unmovable::of(connection) as *const #client_name) }
            }

            #[inline(always)]
            fn client_mut(connection: &mut ::reslot_plugin_api::__private::Connection) -> &mut #client_name {
                // SAFETY: as above.
                unsafe { &mut *(&raw mut *::reslot_plugin_api::__private::Unmovable::of_mut(connection) as *mut #client_name) }
            }

            #[inline(always)]
            unsafe fn proxy<'a>(passed: ::reslot_plugin_api::__private::Passed) -> #proxy_name<'a> {
                #proxy_name { passed, borrow: ::core::marker::PhantomData }
            }

            #[inline]
            fn stubs() -> *const () {
                (&raw const *<#table_name as ::reslot_plugin_api::__private::StubsFor<()>>::STUBS).cast()
            }

            #dispatch
        }

        // SAFETY: both tables are made of the functions for `T`.
        unsafe impl<__T: #name + ::core::marker::Send #sync + 'static> ::reslot_plugin_api::Implements<__T> for dyn #name {
            const TABLE: *const () = (&raw const *<#table_name as ::reslot_plugin_api::__private::TableFor<__T>>::TABLE).cast();
            const LINKED_TABLE: *const () =
                (&raw const *<#table_name as ::reslot_plugin_api::__private::TableFor<__T>>::LINKED).cast();
        }

        #shared
    }
}

struct Names {
    interface: Ident,
    table: Ident,
    proxy: Ident,
    client: Ident,
}

/// The table, and one `extern "C"` function a method, generic over how it gets at its object.
fn table(interface: &Interface, names: &Names) -> TokenStream {
    let Names {
        interface: name, table, ..
    } = names;
    let vis = &interface.vis;
    let count = interface.methods.len();
    let idents: Vec<_> = interface.methods.iter().map(|method| &method.name).collect();
    let types = interface.methods.iter().map(|method| {
        let wires = method.arguments.iter().map(wire);
        let out = out_wire(&method.returns);
        match in_registers(&method.returns) {
            true => quote!(unsafe extern "C" fn(*mut (), #(#wires,)*) -> ::reslot_plugin_api::__private::Answer<#out>),
            false => quote!(unsafe extern "C" fn(*mut (), #(#wires,)* *mut #out) -> ::reslot_plugin_api::__private::Status),
        }
    });
    let functions = interface.methods.iter().map(|method| {
        let ident = &method.name;
        let parameters = method.arguments.iter().map(|argument| {
            let (name, wire) = (&argument.name, wire(argument));
            quote!(#name: #wire)
        });
        let out = out_wire(&method.returns);
        let get = if method.mutable { quote!(get_mut) } else { quote!(get) };
        let receive = method.arguments.iter().map(receive);
        let arguments = method.arguments.iter().map(received);
        let write = write_out(&method.returns);
        let contained = quote! {
            __A::contain(__data, || {
                let __this = __A::#get(__data);
                #(#receive)*
                let __value = <__A::Target as #name>::#ident(__this, #(#arguments),*);
                #write
            })
        };
        if in_registers(&method.returns) {
            return quote! {
                unsafe extern "C" fn #ident<__A: ::reslot_plugin_api::__private::Access>(
                    __data: *mut (), #(#parameters,)*
                ) -> ::reslot_plugin_api::__private::Answer<#out>
                where
                    __A::Target: #name,
                {
                    let mut __out = ::core::mem::MaybeUninit::uninit();
                    // SAFETY: the caller passes the object that belongs to this table, borrowed as the method's receiver
                    // says, and arguments that live for the call.
                    let __status = unsafe { #contained };
                    ::reslot_plugin_api::__private::Answer { status: __status, value: __out }
                }
            };
        }
        quote! {
            unsafe extern "C" fn #ident<__A: ::reslot_plugin_api::__private::Access>(
                __data: *mut (), #(#parameters,)* __out: *mut #out,
            ) -> ::reslot_plugin_api::__private::Status
            where
                __A::Target: #name,
            {
                // SAFETY: the caller passes the object that belongs to this table, borrowed as the method's receiver says,
                // arguments that live for the call, and room for the value.
                unsafe { #contained }
            }
        }
    });
    quote! {
        #[doc(hidden)]
        #[repr(C)]
        #vis struct #table {
            __functions: usize,
            #(#idents: #types,)*
        }

        impl #table {
            const BORROWED: &'static Self = &Self {
                __functions: #count,
                #(#idents: Self::#idents::<::reslot_plugin_api::__private::Borrowed<dyn #name>>,)*
            };
        }

        impl<__T: #name + 'static> ::reslot_plugin_api::__private::TableFor<__T> for #table {
            const TABLE: &'static Self = &Self {
                __functions: #count,
                #(#idents: Self::#idents::<::reslot_plugin_api::__private::Owned<__T>>,)*
            };
            const LINKED: &'static Self = &Self {
                __functions: #count,
                #(#idents: Self::#idents::<::reslot_plugin_api::__private::Linked<__T>>,)*
            };
        }

        #[allow(improper_ctypes_definitions, clippy::all)]
        impl #table {
            #(#functions)*
        }
    }
}

/// An object of the other side, behind the trait. A panic of the other side unwinds this side up to its own boundary.
fn proxy(interface: &Interface, names: &Names) -> TokenStream {
    let Names {
        interface: name,
        table,
        proxy,
        ..
    } = names;
    let vis = &interface.vis;
    let methods = interface.methods.iter().enumerate().map(|(index, method)| {
        let (ident, signature) = (&method.name, signature(method, |returns| quote!(#returns)));
        let lend = method.arguments.iter().map(lend);
        let wires = method.arguments.iter().map(pass);
        let resume = resume(method);
        let out = out_wire(&method.returns);
        let read = read_out(&method.returns);
        let missing = method.since.map(|_| {
            let hidden = hidden_name(ident);
            let arguments = method.arguments.iter().map(|argument| &argument.name);
            quote! {
                // SAFETY: the table is live as long as the proxy.
                if !unsafe { ::reslot_plugin_api::__private::table_has(self.passed.table(), #index) } {
                    return <Self as #name>::#hidden(self, #(#arguments),*);
                }
            }
        });
        let call = match in_registers(&method.returns) {
            true => quote! {
                // SAFETY: data and table belong together and are live as long as the proxy; the table has this function.
                let __answer = unsafe { ((*__table).#ident)(self.passed.data(), #(#wires,)*) };
                let (__status, __out) = (__answer.status, __answer.value);
            },
            false => quote! {
                let mut __out = ::core::mem::MaybeUninit::<#out>::uninit();
                // SAFETY: data and table belong together and are live as long as the proxy; the table has this function.
                let __status = unsafe { ((*__table).#ident)(self.passed.data(), #(#wires,)* __out.as_mut_ptr()) };
            },
        };
        quote! {
            #[allow(clippy::all)]
            #[inline]
            #signature {
                #missing
                #(#lend)*
                let __table = self.passed.table().cast::<#table>();
                #call
                if __status != ::reslot_plugin_api::__private::Status::OK {
                    #resume
                    ::reslot_plugin_api::__private::foreign_panic(__status);
                }
                // SAFETY: the status says that the value was written.
                let __wire = unsafe { __out.assume_init() };
                #read
            }
        }
    });
    quote! {
        #[doc(hidden)]
        #vis struct #proxy<'a> {
            passed: ::reslot_plugin_api::__private::Passed,
            borrow: ::core::marker::PhantomData<&'a mut ()>,
        }

        #[diagnostic::do_not_recommend]
        impl #name for #proxy<'_> {
            #(#methods)*
        }
    }
}

/// The embedder's side: the trait's methods, each returning a `Result`.
fn client(interface: &Interface, names: &Names) -> TokenStream {
    let Names {
        interface: name,
        table,
        client,
        ..
    } = names;
    let vis = &interface.vis;
    let doc = format!(
        "The methods of [`{name}`] as an embedder calls them: each answers `Err` where the plugin's code failed.\n\n\
         # Errors\n\
         Every method answers [`CallError`](::reslot_plugin_api::CallError) if the plugin panics, and only then. A panic of an \
         object that the caller lent comes back as the panic that it was."
    );
    let methods = interface.methods.iter().enumerate().map(|(index, method)| {
        let (ident, docs) = (&method.name, &method.docs);
        let text = ident.unraw().to_string();
        let signature = signature(
            method,
            |returns| quote!(::core::result::Result<#returns, ::reslot_plugin_api::CallError>),
        );
        let lend = method.arguments.iter().map(lend);
        let wires: Vec<_> = method.arguments.iter().map(pass).collect();
        let resume = resume(method);
        let call = match in_registers(&method.returns) {
            true => quote!(unsafe { ((*__table.cast::<#table>()).#ident)(__data, #(#wires,)*).put(__out) }),
            false => quote!(unsafe { ((*__table.cast::<#table>()).#ident)(__data, #(#wires,)* __out) }),
        };
        let call = match method.since {
            None => call,
            Some(_) => {
                let hidden = hidden_name(ident);
                let receive = method.arguments.iter().map(receive_lent);
                let arguments = method.arguments.iter().map(received_lent);
                let write = write_out(&method.returns);
                let mutable = method.mutable.then(|| quote!(mut));
                quote! {
                    if unsafe { ::reslot_plugin_api::__private::table_has(__table, #index) } {
                        #call
                    } else {
                        ::reslot_plugin_api::__private::contain(|| unsafe {
                            let #mutable __proxy = <dyn #name as ::reslot_plugin_api::Interface>::proxy(
                                ::reslot_plugin_api::__private::Passed::new(__data, __table),
                            );
                            #(#receive)*
                            let __value = #name::#hidden(&#mutable __proxy, #(#arguments),*);
                            #write
                        })
                    }
                }
            }
        };
        let (function, read) = match &method.returns {
            Returns::Copied(of) => (quote_spanned!(of.span()=> call::<#of>), quote!(__result)),
            returns => {
                let (out, read) = (out_wire(returns), read_out(returns));
                (quote!(call_borrowing::<#out>), quote!(__result.map(|__wire| #read)))
            }
        };
        // The lender needs to know how the call ended.
        let (status, call) = match &resume {
            None => (None, call),
            Some(_) => (
                Some(quote!(let mut __status = ::reslot_plugin_api::__private::Status::OK;)),
                quote!(__status = #call; __status),
            ),
        };
        quote! {
            #(#docs)*
            #[allow(clippy::all)]
            #[inline]
            pub #signature {
                #(#lend)*
                #status
                // SAFETY: the connection's data and table belong together, and the receiver's borrow is the method's.
                let __result = unsafe {
                    self.connection.#function(#text, |__data, __table, __out| { #call })
                };
                #resume
                #read
            }
        }
    });
    quote! {
        #[doc = #doc]
        #[repr(transparent)]
        #vis struct #client {
            connection: ::reslot_plugin_api::__private::Unmovable,
        }

        #[allow(unused_unsafe)]
        impl #client {
            #(#methods)*
        }
    }
}

fn signature(method: &Method, wrap: impl Fn(TokenStream) -> TokenStream) -> TokenStream {
    let ident = &method.name;
    let receiver = if method.mutable { quote!(&mut self) } else { quote!(&self) };
    let parameters = method.arguments.iter().map(|argument| {
        let (name, of) = (&argument.name, &argument.of);
        quote!(#name: #of)
    });
    let returns = wrap(match &method.returns {
        Returns::Copied(of) | Returns::Str(of) | Returns::Slice(_, of) | Returns::Ref(_, of) => quote!(#of),
    });
    quote!(fn #ident(#receiver, #(#parameters),*) -> #returns)
}

fn description(interface: &Interface) -> TokenStream {
    let (name, major, minor) = (interface.name.unraw().to_string(), interface.major, interface.minor);
    let methods = interface.methods.iter().map(|method| {
        let name = method.name.unraw().to_string();
        let receiver = if method.mutable { quote!(RefMut) } else { quote!(Ref) };
        let arguments = method.arguments.iter().map(|argument| {
            let name = argument.name.unraw().to_string();
            let shape = match &argument.passed {
                Passed::Value => value_shape("Value", &argument.of),
                Passed::Str => quote!(::reslot_plugin_api::description::Shape::Str),
                Passed::Ref { mutable: false, of } => value_shape("Ref", of),
                Passed::Ref { mutable: true, of } => value_shape("RefMut", of),
                Passed::Slice { mutable: false, of } => value_shape("Slice", of),
                Passed::Slice { mutable: true, of } => value_shape("SliceMut", of),
                Passed::Interface { mutable, of } => {
                    let shape = if *mutable { quote!(InterfaceMut) } else { quote!(Interface) };
                    let of = quote_spanned!(of.span()=> <#of as ::reslot_plugin_api::Interface>::DESCRIPTION);
                    quote!(::reslot_plugin_api::description::Shape::#shape(#of))
                }
            };
            quote!(::reslot_plugin_api::description::Argument { name: #name, passed: #shape })
        });
        let returns = match &method.returns {
            // How it crosses depends on how it is written, so the description records it: one side may use an alias.
            Returns::Copied(of) if in_registers(&method.returns) => value_shape("Number", of),
            Returns::Copied(of) => quote_spanned!(of.span()=> <#of as ::reslot_plugin_api::Returned>::SHAPE),
            Returns::Str(_) => quote!(::reslot_plugin_api::description::Shape::Str),
            Returns::Slice(of, _) => value_shape("Slice", of),
            Returns::Ref(of, _) => value_shape("Ref", of),
        };
        let since = match method.since {
            Some((major, minor)) => quote!(::core::option::Option::Some((#major, #minor))),
            None => quote!(::core::option::Option::None),
        };
        quote!(::reslot_plugin_api::description::Method {
            name: #name,
            receiver: ::reslot_plugin_api::description::Receiver::#receiver,
            arguments: &[#(#arguments),*],
            returns: #returns,
            since: #since,
        })
    });
    quote!(::reslot_plugin_api::description::Interface {
        name: #name,
        major: #major,
        minor: #minor,
        methods: &[#(#methods),*],
    })
}

fn value_shape(shape: &str, of: &Type) -> TokenStream {
    let shape = format_ident!("{shape}");
    let described = quote_spanned!(of.span()=> <#of as ::reslot_plugin_api::Crossing>::DESCRIPTION);
    quote!(::reslot_plugin_api::description::Shape::#shape(#described))
}
