//! The caller's side: an object behind the ordinary function table, whose functions send the call through a [`Transport`].
//!
//! A table function gets the address of a [`Stub`] as its object. The functions themselves are generated, see `Interface::stubs`;
//! each has the encoding of its arguments and the decoding of its reply in one closure, which it gives to [`call_stub`].

use super::{
    Interface, Passed, Status,
    dispatch::{CallContext, Marshalling, code},
    lent::{Frame, LentEntry, LentObjects},
};
use crate::{
    crossing::{Decoder, Encoder, Handles},
    marshal::error::{MarshalError, TransportError},
    panic_payload::discard,
};
use std::{
    cell::Cell,
    panic::{AssertUnwindSafe, catch_unwind},
    rc::Rc,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicPtr, Ordering},
    },
};

/// The [target](Call::target) of calls of the plugin's instance. No handle has this value.
pub const INSTANCE: u64 = 0;

/// Carries calls to the other side, and serves the calls that come back meanwhile. An engine implements it: once on the host's
/// side, and once on the plugin's.
pub trait Transport {
    /// Makes one call:
    ///
    /// 1. [`encode`](Call::encode) the request into memory that the other side can read, [`request_len`](Call::request_len) bytes.
    /// 2. Send it with [`target`](Call::target) and [`method`](Call::method). Until the reply has come, serve calls of lent objects
    ///    with [`Call::lends`], on this thread.
    /// 3. [`complete`](Call::complete) the call with the code and the reply, in memory that the other side cannot change any more.
    ///
    /// # Errors
    /// If the call ended in another way than by a reply. An error of one of the functions above is returned as it is.
    fn call(&self, call: &mut Call<'_>) -> Result<(), TransportError>;

    /// The transport had an error in a call. Its caller gets [`Status::FAILED`](crate::__private::Status::FAILED) after that, unless the call was
    /// completed before. An engine keeps the reason for the error of the call, as it does with a panic's message.
    fn failed(&self, method: u32, error: TransportError);
}

/// What a generated function does for a call.
pub enum MarshalStep<'s, 'm> {
    /// Encodes the arguments. This is done twice: to measure, and to write.
    Encode(&'s mut Encoder<'m>),
    /// Decodes the result and the new values of `&mut` arguments, and writes them if the whole reply is valid.
    Decode(&'s mut Decoder<'m>),
}

/// The generated code of one call.
type Marshal<'a> = &'a mut dyn FnMut(MarshalStep<'_, '_>) -> Result<(), MarshalError>;

/// One call, for a transport.
pub struct Call<'a> {
    target: u64,
    method: u32,
    frame: Option<&'a Frame<'a>>,
    lends: LentObjects<'a>,
    marshal: Marshal<'a>,
    status: Option<Status>,
}

impl<'a> Call<'a> {
    /// Whom it calls: [`INSTANCE`], or the handle of an object that the other side has lent.
    #[must_use]
    pub fn target(&self) -> u64 {
        self.target
    }

    /// The index of the method.
    #[must_use]
    pub fn method(&self) -> u32 {
        self.method
    }

    /// The objects that the other side may call until the reply.
    #[must_use]
    pub fn lends(&self) -> LentObjects<'a> {
        self.lends
    }

    fn handles(&self) -> Option<&'a dyn Handles> {
        self.frame.map(|frame| frame as &dyn Handles)
    }

    /// The size of the request.
    ///
    /// # Errors
    /// If it is too long for any message.
    pub fn request_len(&mut self) -> Result<usize, MarshalError> {
        let mut measured = Encoder::measure(self.handles());
        (self.marshal)(MarshalStep::Encode(&mut measured))?;
        Ok(measured.len())
    }

    /// Writes the request. Each byte of `room` is overwritten.
    ///
    /// # Errors
    /// If `room` has another size than the request.
    pub fn encode(&mut self, room: &mut [u8]) -> Result<(), MarshalError> {
        let size = room.len();
        let mut into = Encoder::write(room, self.handles());
        (self.marshal)(MarshalStep::Encode(&mut into))?;
        match into.len() {
            len if len == size => Ok(()),
            len => Err(MarshalError::BufferSize { needed: len as u64 }),
        }
    }

    /// Ends the call with its code and its reply. Nothing of an invalid reply reaches the caller.
    ///
    /// # Errors
    /// If the reply is invalid, or if the other side reports that the call failed.
    pub fn complete(&mut self, ended: u32, reply: &[u8]) -> Result<(), TransportError> {
        if self.status.is_some() {
            return Err(MarshalError::Completed.into());
        }
        let mut from = Decoder::new(reply);
        // Every error from here on makes this a failed call.
        self.status = Some(Status::FAILED);
        match ended {
            code::OK => {
                (self.marshal)(MarshalStep::Decode(&mut from))?;
                self.status = Some(Status::OK);
            }
            code::PANICKED | code::CALLBACK | code::FAILED => {
                from.finish()?;
                // The plugin itself does not panic on the caller's side. If none of the lent objects has, then a call to one failed.
                let is_claimed = ended == code::CALLBACK && self.target == INSTANCE && !self.lends.panicked();
                if is_claimed || ended == code::FAILED {
                    return Err(TransportError::Callback);
                }
                self.status = Some(Status(ended));
            }
            code::REJECTED => return Err(TransportError::Rejected(decode_error(from)?)),
            found => return Err(MarshalError::Status { found }.into()),
        }
        Ok(())
    }
}

fn decode_error(mut from: Decoder<'_>) -> Result<MarshalError, MarshalError> {
    let (first, second, number) = (from.value()?, from.value()?, from.value()?);
    from.finish()?;
    MarshalError::of_parts((number, first, second))
}

/// What the functions of a stub table take as their object.
pub(super) struct Stub<'a> {
    transport: &'a dyn Transport,
    target: u64,
    lends: LentObjects<'a>,
    /// See [`CallContext`]; none of an instance.
    remote_failure: Option<&'a Cell<bool>>,
}

/// Makes the call of a generated stub function.
///
/// # Safety
/// `data` must be the object that belongs to the stub table. The entries must be the interface arguments of the method.
/// `marshal` must write the method's out value when it has decoded a reply.
#[inline(never)]
pub unsafe fn call_stub(
    data: *mut (),
    method: u32,
    entries: &[LentEntry],
    marshal: &mut dyn FnMut(MarshalStep<'_, '_>) -> Result<(), MarshalError>,
) -> Status {
    // SAFETY: the object of a stub table is a `Stub`, see `RemoteObject` and `RemoteInstance`, and it is only ever read.
    let stub = unsafe { &*data.cast::<Stub<'_>>() };
    let frame = (!entries.is_empty()).then(|| Frame::new(entries, stub.lends.frame));
    let mut call = Call {
        target: stub.target,
        method,
        frame: frame.as_ref(),
        lends: LentObjects {
            frame: frame.as_ref().or(stub.lends.frame),
            depth: stub.lends.depth,
        },
        marshal,
        status: None,
    };
    // The table's functions must not unwind, and the transport is an engine's code.
    let ended = catch_unwind(AssertUnwindSafe(|| stub.transport.call(&mut call)));
    let error = match ended {
        Ok(Ok(())) if call.status.is_some() => None,
        Ok(Ok(())) => Some(TransportError::NoReply),
        Ok(Err(error)) => Some(error),
        Err(payload) => {
            discard(payload);
            Some(TransportError::Panicked)
        }
    };
    if let Some(error) = error {
        failed(stub, method, error);
    }
    // A call that was completed stays so, even if the transport has an error after that: its result was written.
    let status = call.status.unwrap_or(Status::FAILED);
    let is_ours = status == Status::OK || status == Status::CALLBACK && call.lends.panicked();
    if let Some(remote_failure) = stub.remote_failure.filter(|_| !is_ours) {
        remote_failure.set(true);
    }
    status
}

/// Answers the call of a method that cannot cross, without sending it.
///
/// # Safety
/// As for [`call_stub`].
#[cold]
pub unsafe fn fail_unsupported(data: *mut (), method: u32) -> Status {
    // SAFETY: as for `call_stub`.
    let stub = unsafe { &*data.cast::<Stub<'_>>() };
    failed(stub, method, TransportError::Borrowed);
    // The unwinding that follows does not begin on this side.
    if let Some(remote_failure) = stub.remote_failure {
        remote_failure.set(true);
    }
    Status::FAILED
}

#[cold]
fn failed(stub: &Stub<'_>, method: u32, error: TransportError) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(|| stub.transport.failed(method, error))) {
        discard(payload);
    }
}

/// A stub table for the other side's object, which may have fewer functions because its interface is older: the same table with a smaller
/// number at its start. An `Rc`, for the reason given at `RemoteInstance`.
enum StubTable {
    Whole(*const ()),
    Older(Rc<[*const ()]>),
}

impl StubTable {
    /// # Safety
    /// `stubs` must be the stub table of an interface with so many methods.
    unsafe fn new(stubs: *const (), methods: usize, functions: usize) -> Self {
        if functions >= methods {
            return Self::Whole(stubs);
        }
        // SAFETY: the caller's promise.
        let mut words = unsafe { table_words(stubs, methods) }.to_vec();
        words[0] = std::ptr::without_provenance(functions);
        Self::Older(words.into())
    }

    fn pointer(&self) -> *const () {
        match self {
            Self::Whole(table) => *table,
            Self::Older(words) => words.as_ptr().cast(),
        }
    }
}

/// The words of a function table: the number of its functions, and a function pointer for each.
///
/// # Safety
/// `table` must be the function table of an interface with so many methods.
unsafe fn table_words(table: *const (), methods: usize) -> &'static [*const ()] {
    // SAFETY: a table is `repr(C)`, as the caller promises, and constant. All its fields are words.
    unsafe { std::slice::from_raw_parts(table.cast(), 1 + methods) }
}

/// A function table that is made before its interface is known, and filled when it is. Its address never changes.
struct LateTable {
    /// As [`table_words`] has them. Before the table is bound, the number of functions is 0.
    words: Rc<[AtomicPtr<()>]>,
    is_bound: Mutex<bool>,
}

impl LateTable {
    fn new(functions: usize) -> Self {
        Self {
            words: (0..=functions).map(|_| AtomicPtr::default()).collect(),
            is_bound: Mutex::new(false),
        }
    }

    fn is_bound(&self) -> bool {
        *self.is_bound.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Only the first call changes the table, so nobody reads a word while it is written: a client gets the table after that.
    fn bind(&self, marshalling: &Marshalling) {
        let mut is_bound = self.is_bound.lock().unwrap_or_else(PoisonError::into_inner);
        if std::mem::replace(&mut *is_bound, true) {
            return;
        }
        let methods = marshalling.description.methods.len();
        // SAFETY: a `Marshalling` has the stub table of the interface that it describes.
        let stubs = unsafe { table_words(marshalling.stubs, methods) };
        let functions = methods.min(self.words.len() - 1);
        for (word, stub) in self.words[1..].iter().zip(&stubs[1..]) {
            word.store(stub.cast_mut(), Ordering::Relaxed);
        }
        self.words[0].store(std::ptr::without_provenance_mut(functions), Ordering::Release);
    }
}

/// An object that the other side has lent for the call that is being served.
pub struct RemoteObject<'a> {
    stub: Stub<'a>,
    table: StubTable,
}

impl<'a> RemoteObject<'a> {
    /// Reads the handle of an argument.
    pub(super) fn decode<I: ?Sized + Interface>(
        from: &mut Decoder<'_>,
        context: CallContext<'a>,
    ) -> Result<Self, MarshalError> {
        let (handle, functions) = (from.value()?, from.value()?);
        Ok(Self::new::<I>(context, handle, functions))
    }

    fn new<I: ?Sized + Interface>(context: CallContext<'a>, handle: u64, functions: u32) -> Self {
        let functions = usize::try_from(functions).unwrap_or(usize::MAX);
        Self {
            stub: Stub {
                transport: context.transport,
                target: handle,
                lends: context.lends,
                remote_failure: Some(context.remote_failure),
            },
            // SAFETY: it is the stub table of `I`, whose description lists its methods.
            table: unsafe { StubTable::new(I::stubs(), I::DESCRIPTION.methods.len(), functions) },
        }
    }

    /// The form in which an object crosses. It is valid as long as this value.
    #[must_use]
    pub fn passed(&self) -> Passed {
        let data = (&raw const self.stub).cast_mut().cast();
        // SAFETY: a stub table's object is a stub, and both live as long as `self`.
        unsafe { Passed::new(data, self.table.pointer()) }
    }
}

/// A plugin's instance on the other side, for the host: object and table, as an engine's `Object` has them.
pub struct RemoteInstance {
    /// Its transport is in `transport`, which outlives it.
    /// An `Rc`, because a `Box` must be the only pointer to its content when it is moved.
    stub: Rc<Stub<'static>>,
    table: LateTable,
    #[allow(dead_code, reason = "it is used through `stub`")]
    transport: Arc<dyn Transport + Send + Sync>,
}

// SAFETY: the stub has a reference to the transport, which is `Send` and `Sync`, and lends nothing; the table consists of atomics and a lock.
// Nothing else holds the two `Rc`s.
unsafe impl Send for RemoteInstance {}
// SAFETY: as above.
unsafe impl Sync for RemoteInstance {}

impl RemoteInstance {
    /// An instance that is called through `transport`. `functions` is the number of methods of the interface for which the plugin was built,
    /// from its manifest. The table is to be [bound](Self::bind) before anybody gets it.
    #[must_use]
    pub fn new(functions: usize, transport: Arc<dyn Transport + Send + Sync>) -> Self {
        let borrowed: *const (dyn Transport + Send + Sync) = &*transport;
        let stub = Stub {
            // SAFETY: the Arc beside it keeps the transport alive, and where it is, until the stub is dropped.
            transport: unsafe { &*borrowed },
            target: INSTANCE,
            lends: LentObjects::default(),
            remote_failure: None,
        };
        Self {
            stub: Rc::new(stub),
            table: LateTable::new(functions),
            transport,
        }
    }

    /// Fills the table with the stubs of the plugin's interface. The first call does so; later ones do nothing.
    pub fn bind(&self, marshalling: &Marshalling) {
        self.table.bind(marshalling);
    }

    /// Whether the table is filled.
    #[must_use]
    pub fn is_bound(&self) -> bool {
        self.table.is_bound()
    }

    /// The object for the functions of the table. It is valid as long as this value.
    #[must_use]
    pub fn data(&self) -> *mut () {
        (&raw const *self.stub).cast_mut().cast()
    }

    /// The function table. It is valid as long as this value, and empty until it is [bound](Self::bind).
    #[must_use]
    pub fn table(&self) -> *const () {
        self.table.words.as_ptr().cast()
    }
}
