//! What an interface is at run time: a function table, the object it works on, and the typed client in front of both. The
//! code here is what `#[interface]` expands to and what every call passes through; it is generic and inlined, so that a call
//! is one indirect call and a compare of the status.
//!
//! The boundary has two rules. No panic crosses it: each table function catches panics and returns a [`Status`]. A number is
//! returned beside it in an [`Answer`]; all other results go through an out pointer. And only values cross that are borrowed
//! for the call or copied out inside it.

use crate::{
    crossing::{Decoder, Returned},
    description,
    error::CallError,
    inside,
    marshal::error::MarshalError,
    panic_payload::discard,
};
use std::{
    any::Any,
    cell::Cell,
    marker::PhantomData,
    mem::MaybeUninit,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
};

mod active;
mod dispatch;
mod lent;
mod stub;

pub use active::ActiveLentObjects;
pub use dispatch::{CallContext, Dispatch, Marshalling, ReplyBuffer, code, dispatch_instance};
pub use lent::{LentEntry, LentObjects, MAX_NESTED_CALLS};
pub use stub::{Call, INSTANCE, MarshalStep, RemoteInstance, RemoteObject, Transport, call_stub, fail_unsupported};

/// Implemented by [`#[interface]`](macro@crate::interface) for `dyn Trait`: the marker by which hosts and plugins name it.
///
/// # Safety
/// The client, the proxy and every table must agree on one function table layout, which `DESCRIPTION` describes.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an interface",
    note = "mark the trait with `#[interface]` and write it as `dyn Trait`"
)]
pub unsafe trait Interface: 'static {
    /// The methods for the embedder: the trait's methods, each returning `Result<_, CallError>`.
    type Client: ?Sized;
    /// An object of the other side, behind the trait.
    #[doc(hidden)]
    type Proxy<'a>;
    /// The contract, for the check and for people.
    const DESCRIPTION: &'static description::Interface;
    /// The table that serves `&dyn Trait` of the caller's to the callee.
    #[doc(hidden)]
    const BORROWED: *const ();

    #[doc(hidden)]
    fn client(connection: &Connection) -> &Self::Client;
    #[doc(hidden)]
    fn client_mut(connection: &mut Connection) -> &mut Self::Client;
    /// # Safety
    /// `passed` must come from a [`Lent`] of this interface that outlives `'a`, or be a live instance with its table.
    #[doc(hidden)]
    unsafe fn proxy<'a>(passed: Passed) -> Self::Proxy<'a>;
    /// An argument of this interface, as it is lent to the other side of a call as bytes.
    ///
    /// # Safety
    /// As for [`LentEntry::new`].
    #[doc(hidden)]
    #[inline]
    unsafe fn lent(object: Passed, mutable: bool) -> LentEntry {
        // SAFETY: the caller's promise.
        unsafe { LentEntry::new::<Self>(object, mutable) }
    }
    /// An argument of this interface, as the other side has lent it.
    #[doc(hidden)]
    #[inline]
    fn remote<'a>(from: &mut Decoder<'_>, context: CallContext<'a>) -> Result<RemoteObject<'a>, MarshalError> {
        RemoteObject::decode::<Self>(from, context)
    }
    /// The table whose functions send a call as bytes. Their object is a stub of `marshal`.
    #[doc(hidden)]
    fn stubs() -> *const ();
    /// Calls an object for a request of bytes.
    ///
    /// # Safety
    /// As for [`Dispatch`].
    #[doc(hidden)]
    unsafe fn dispatch(
        object: Passed,
        method: u32,
        context: CallContext<'_>,
        request: &[u8],
        reply: &mut dyn ReplyBuffer,
    ) -> Result<Status, MarshalError>;
}

/// An interface whose methods all take `&self`, so that many threads may call one instance.
///
/// # Safety
/// Only `#[interface]` implements it; every `T` that [`Implements`] it must be `Sync`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` has `&mut self` methods, so only one owner may call it",
    note = "use `host.claim()` for it, or give every method of the interface `&self`"
)]
pub unsafe trait Shared: Interface {}

/// `dyn Trait: Implements<T>` where `T: Trait` may be a plugin.
///
/// # Safety
/// `TABLE` and `LINKED_TABLE` must point to the tables of `T` for this interface.
#[diagnostic::on_unimplemented(
    message = "`{T}` cannot be a plugin for `{Self}`",
    note = "it must implement the trait, be `Send` and own what it holds; for an interface with only `&self` methods also `Sync`"
)]
pub unsafe trait Implements<T>: Interface {
    /// The function table.
    #[doc(hidden)]
    const TABLE: *const ();
    /// The same for objects of a linked plugin.
    #[doc(hidden)]
    const LINKED_TABLE: *const ();
}

/// A function table type that has a table for `T`.
pub trait TableFor<T>: Sized + 'static {
    /// The table of functions that work on a `T`.
    const TABLE: &'static Self;
    /// The table of functions that work on a `T` of a linked plugin.
    const LINKED: &'static Self;
}

/// A function table type that has a table of stubs. The parameter has no meaning: it makes the functions generic, so that they
/// are compiled only where the table is used.
pub trait StubsFor<T>: Sized + 'static {
    /// The table of functions that send a call as bytes.
    const STUBS: &'static Self;
}

/// How a table function ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(transparent)]
pub struct Status(pub u32);

impl Status {
    /// The value was written.
    pub const OK: Self = Self(0);
    /// The callee panicked.
    pub const PANICKED: Self = Self(1);
    /// An object that was lent to the callee panicked on the caller's side.
    pub const CALLBACK: Self = Self(2);
    /// A stub could not make the call, or not read its reply. Its transport knows why.
    pub const FAILED: Self = Self(3);
}

/// The result of a table function that returns a number: two words, which are returned in registers.
#[repr(C)]
pub struct Answer<W> {
    /// How it ended.
    pub status: Status,
    /// Written if the status is OK.
    pub value: MaybeUninit<W>,
}

impl<W> Answer<W> {
    /// Writes the value to `out`, and returns the status.
    ///
    /// # Safety
    /// `out` must be valid for writing.
    #[inline(always)]
    pub unsafe fn put(self, out: *mut W) -> Status {
        // SAFETY: the caller's promise; the bytes may be uninitialised on both sides.
        unsafe { out.cast::<MaybeUninit<W>>().write(self.value) };
        self.status
    }
}

/// The payload that unwinds a side whose *counterpart* panicked, with the status of that panic. No panic hook runs for it.
struct ForeignPanic(Status);

/// Unwinds this side because an object of the other side panicked in a call from here.
#[cold]
pub fn foreign_panic(status: Status) -> ! {
    resume_unwind(Box::new(ForeignPanic(status)))
}

/// Runs the body of a table function, and catches panics. Without a panic it costs nothing.
#[inline(always)]
pub fn contain(body: impl FnOnce()) -> Status {
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(()) => Status::OK,
        Err(payload) => contained(payload),
    }
}

#[cold]
fn contained(payload: Box<dyn Any + Send>) -> Status {
    // In a plugin that is `CALLBACK`, from a lent object. In a default body on the host's side it may be `PANICKED`, from a
    // method of the plugin's that the body called.
    if let Some(ForeignPanic(status)) = payload.downcast_ref() {
        return *status;
    }
    inside::contained(&*payload, false);
    discard(payload);
    Status::PANICKED
}

/// Whether a table has the function at `index`: tables grow at their end, and the other side's may be older.
///
/// # Safety
/// `table` must point to a live function table, which begins with the number of its functions.
#[inline(always)]
pub unsafe fn table_has(table: *const (), index: usize) -> bool {
    // SAFETY: each table is `repr(C)` and begins with this count, by the contract of `Interface`.
    unsafe { *table.cast::<usize>() > index }
}

/// An object of the caller's side as it crosses.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Passed {
    data: *mut (),
    table: *const (),
}

impl Passed {
    /// # Safety
    /// `data` and `table` must belong together and be live as long as whatever is made from this.
    #[inline(always)]
    pub unsafe fn new(data: *mut (), table: *const ()) -> Self {
        Self { data, table }
    }

    /// The object, as its table understands it.
    #[inline(always)]
    pub fn data(self) -> *mut () {
        self.data
    }

    /// The table.
    #[inline(always)]
    pub fn table(self) -> *const () {
        self.table
    }
}

/// How a table function gets its object.
///
/// # Safety
/// `get` and `get_mut` must answer the object that `data` was made from.
pub unsafe trait Access {
    /// What the table's functions are called on.
    type Target: ?Sized;
    /// # Safety
    /// `data` must be live for `'a` and not mutably borrowed.
    unsafe fn get<'a>(data: *mut ()) -> &'a Self::Target;
    /// # Safety
    /// `data` must be live for `'a` and not borrowed at all.
    unsafe fn get_mut<'a>(data: *mut ()) -> &'a mut Self::Target;
    /// # Safety
    /// As for `get`.
    unsafe fn contain(data: *mut (), body: impl FnOnce()) -> Status;
}

/// A plugin's instance: `data` points to the `T`.
pub struct Owned<T>(PhantomData<T>);

// SAFETY: `data` of an instance is the pointer that `Glue::create` made from a `Box<T>`.
unsafe impl<T> Access for Owned<T> {
    type Target = T;

    #[inline(always)]
    unsafe fn get<'a>(data: *mut ()) -> &'a T {
        // SAFETY: the caller's promise.
        unsafe { &*data.cast::<T>() }
    }

    #[inline(always)]
    unsafe fn get_mut<'a>(data: *mut ()) -> &'a mut T {
        // SAFETY: the caller's promise.
        unsafe { &mut *data.cast::<T>() }
    }

    #[inline(always)]
    unsafe fn contain(_: *mut (), body: impl FnOnce()) -> Status {
        contain(body)
    }
}

/// An object lent for one call: `data` points to a [`Lent`].
pub struct Borrowed<I: ?Sized>(PhantomData<I>);

// SAFETY: `data` is what `Lent::pass` handed out, and the Lent lives on the stack of the call it was made for.
unsafe impl<I: ?Sized> Access for Borrowed<I> {
    type Target = I;

    unsafe fn get<'a>(data: *mut ()) -> &'a I {
        // SAFETY: the caller's promise; a Lent made from `&dyn I` is only ever read through.
        unsafe { &*(*data.cast::<Lent<'static, I>>()).object }
    }

    unsafe fn get_mut<'a>(data: *mut ()) -> &'a mut I {
        // SAFETY: the caller's promise; `&mut self` methods are reachable only through `&mut` of the proxy, and that exists
        // only where the Lent was made from `&mut dyn I`.
        unsafe { &mut *(*data.cast::<Lent<'static, I>>()).object }
    }

    unsafe fn contain(data: *mut (), body: impl FnOnce()) -> Status {
        match catch_unwind(AssertUnwindSafe(body)) {
            Ok(()) => Status::OK,
            Err(payload) => {
                // SAFETY: the caller's promise; `panic` is a Cell, so a shared borrow suffices.
                let lent = unsafe { &*data.cast::<Lent<'static, I>>() };
                lent.keep_panic(payload);
                Status::CALLBACK
            }
        }
    }
}

/// An object of the caller's, lent to the callee for one call. It also keeps a panic of the object's own code, which
/// continues in the caller with its original payload.
pub struct Lent<'a, I: ?Sized> {
    object: *mut I,
    panic: Cell<Option<Box<dyn Any + Send>>>,
    borrow: PhantomData<&'a mut ()>,
}

impl<I: ?Sized> Lent<'_, I> {
    /// # Safety
    /// `object` must stay valid until this is dropped; its lifetime was erased by the macro for the length of one call. If
    /// it was made from a shared borrow, it may only be handed on as a shared borrow.
    #[inline(always)]
    pub unsafe fn new(object: *mut I) -> Self {
        Self {
            object,
            panic: Cell::new(None),
            borrow: PhantomData,
        }
    }

    /// The form that crosses.
    #[inline(always)]
    pub fn pass(&self) -> Passed
    where
        I: Interface,
    {
        Passed {
            data: std::ptr::from_ref(self).cast_mut().cast(),
            table: I::BORROWED,
        }
    }

    /// The callee may catch a panic and call again. The caller gets the last panic of the object's own, if there is one.
    #[cold]
    fn keep_panic(&self, payload: Box<dyn Any + Send>) {
        let unneeded = match (self.panic.take(), payload) {
            (Some(own), foreign) if foreign.is::<ForeignPanic>() && !own.is::<ForeignPanic>() => {
                self.panic.set(Some(own));
                Some(foreign)
            }
            (earlier, payload) => {
                self.panic.set(Some(payload));
                earlier
            }
        };
        if let Some(payload) = unneeded {
            discard(payload);
        }
    }

    /// As [`resume_panic`](Self::resume_panic), if the panic began in the object and not on another side that it had called. The caller
    /// of several lent objects tries this first for each.
    #[cold]
    pub fn resume_own_panic(&self) {
        match self.panic.take() {
            Some(own) if !own.is::<ForeignPanic>() => resume_unwind(own),
            other => self.panic.set(other),
        }
    }

    /// Continues the panic that the object raised while it was lent, if it did.
    #[cold]
    pub fn resume_panic(&self) {
        if let Some(payload) = self.panic.take() {
            resume_unwind(payload);
        }
    }
}

impl<I: ?Sized> Drop for Lent<'_, I> {
    #[inline(always)]
    fn drop(&mut self) {
        // The callee caught this panic and did not continue it.
        if let Some(payload) = self.panic.take() {
            discard(payload);
        }
    }
}

/// The host's side of a generation, behind a client.
pub trait Callee {
    /// The error for a call that ended with `status`.
    fn fault(&self, method: &'static str, status: Status) -> CallError;
    /// Calls `body` with the data and the table of the current state. It waits while the state is handed over.
    fn through_gate(
        &self,
        method: &'static str,
        body: &mut dyn FnMut(*mut (), *const (), &dyn Callee),
    ) -> Result<(), CallError>;
}

/// What a client calls through: an instance, its table, and the host's side of it.
pub struct Connection {
    data: *mut (),
    table: *const (),
    callee: *const dyn Callee,
    gated: bool,
}

impl Connection {
    /// # Safety
    /// `data` and `table` must belong together and to the interface whose client is made from this, and they and `callee`
    /// must outlive every borrow of the connection. With `gated`, calls go through `Callee::through_gate`, and `data` and
    /// `table` are not used at all.
    pub unsafe fn new(data: *mut (), table: *const (), callee: *const dyn Callee, gated: bool) -> Self {
        Self {
            data,
            table,
            callee,
            gated,
        }
    }
}

/// A connection that cannot be moved, and whose fields only this module can access. A client is such a connection behind a
/// type with methods.
///
/// It is unsized on purpose: what cannot be moved cannot be swapped out of the claim that keeps its image alive, not even in
/// the interface's own module, where the client's field is visible.
#[repr(C)]
pub struct Unmovable {
    connection: Connection,
    tail: [()],
}

impl Unmovable {
    /// The connection, as what cannot be moved.
    #[inline(always)]
    pub fn of(connection: &Connection) -> &Self {
        let pointer = std::ptr::slice_from_raw_parts((&raw const *connection).cast::<()>(), 0);
        // SAFETY: `repr(C)`: the connection followed by a slice of length nought, so size and alignment are the connection's.
        unsafe { &*(pointer as *const Self) }
    }

    /// The connection, as what cannot be moved.
    #[inline(always)]
    pub fn of_mut(connection: &mut Connection) -> &mut Self {
        let pointer = std::ptr::slice_from_raw_parts_mut((&raw mut *connection).cast::<()>(), 0);
        // SAFETY: as above.
        unsafe { &mut *(pointer as *mut Self) }
    }

    /// One call.
    ///
    /// # Safety
    /// `function` must call a function of the table with the object given to it, and write the out value if it answers OK.
    #[inline(always)]
    pub unsafe fn call<R: Returned>(
        &self,
        method: &'static str,
        function: impl FnOnce(*mut (), *const (), *mut R::Wire) -> Status,
    ) -> Result<R, CallError> {
        let mut out = MaybeUninit::<R::Wire>::uninit();
        if self.connection.gated {
            // SAFETY: the caller's promise.
            return unsafe { self.call_gated(method, function) };
        }
        let status = function(self.connection.data, self.connection.table, out.as_mut_ptr());
        if status != Status::OK {
            return Err(self.fault(method, status));
        }
        // SAFETY: the status says that the value was written; after the copy it is only dropped.
        Ok(unsafe { R::copy_out(&out.assume_init()) })
    }

    /// One call that returns a borrow from inside the instance.
    ///
    /// # Safety
    /// As for `call`; and what the wire value borrows must live as long as the borrow of the connection.
    #[inline(always)]
    pub unsafe fn call_borrowing<W>(
        &self,
        method: &'static str,
        function: impl FnOnce(*mut (), *const (), *mut W) -> Status,
    ) -> Result<W, CallError> {
        let mut out = MaybeUninit::<W>::uninit();
        if self.connection.gated {
            let mut function = Some(function);
            let mut result = Err(None);
            self.callee().through_gate(method, &mut |data, table, callee| {
                if let Some(function) = function.take() {
                    result = match function(data, table, out.as_mut_ptr()) {
                        Status::OK => Ok(()),
                        status => Err(Some(callee.fault(method, status))),
                    };
                }
            })?;
            return match result {
                // SAFETY: the status said that the value was written.
                Ok(()) => Ok(unsafe { out.assume_init() }),
                Err(Some(error)) => Err(error),
                Err(None) => Err(self.fault(method, Status::PANICKED)),
            };
        }
        let status = function(self.connection.data, self.connection.table, out.as_mut_ptr());
        if status != Status::OK {
            return Err(self.fault(method, status));
        }
        // SAFETY: the status says that the value was written.
        Ok(unsafe { out.assume_init() })
    }

    /// # Safety
    /// As for `call`.
    #[cold]
    #[inline(never)]
    unsafe fn call_gated<R: Returned>(
        &self,
        method: &'static str,
        function: impl FnOnce(*mut (), *const (), *mut R::Wire) -> Status,
    ) -> Result<R, CallError> {
        let mut function = Some(function);
        let mut result = None;
        self.callee().through_gate(method, &mut |data, table, callee| {
            let Some(function) = function.take() else { return };
            let mut out = MaybeUninit::<R::Wire>::uninit();
            result = Some(match function(data, table, out.as_mut_ptr()) {
                Status::OK => {
                    // SAFETY: the status says that the value was written. It is copied out and dropped before the gate is
                    // left: its destructor belongs to the image.
                    Ok(unsafe { R::copy_out(&out.assume_init()) })
                }
                status => Err(callee.fault(method, status)),
            });
        })?;
        result.unwrap_or_else(|| Err(self.fault(method, Status::PANICKED)))
    }

    fn callee(&self) -> &dyn Callee {
        // SAFETY: by the contract of `Connection::new` the callee outlives the connection.
        unsafe { &*self.connection.callee }
    }

    #[cold]
    #[inline(never)]
    fn fault(&self, method: &'static str, status: Status) -> CallError {
        self.callee().fault(method, status)
    }
}
