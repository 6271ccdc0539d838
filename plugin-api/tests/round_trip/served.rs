//! A client in front of an instance, as a claim or a view has it, without a host. The one `unsafe` of these tests stands here,
//! where a host stands.

use reslot_plugin_api::{
    __private::{Callee, Connection, Status},
    Backtrace, CallError, Fault, Implements, Interface,
};
use std::{
    ops::{Deref, DerefMut},
    ptr,
};

/// What a host does after a failed call, as plainly as can be: the status becomes the message.
pub(crate) struct Told;

impl Callee for Told {
    fn fault(&self, method: &'static str, status: Status) -> CallError {
        let fault = Fault::Panicked {
            message: format!("{status:?}").into(),
            location: None,
            backtrace: Backtrace::default(),
        };
        CallError::new("test", 1, method, fault)
    }

    fn through_gate(
        &self,
        method: &'static str,
        _: &mut dyn FnMut(*mut (), *const (), &dyn Callee),
    ) -> Result<(), CallError> {
        Err(CallError::new("test", 1, method, Fault::Vacant))
    }
}

/// A slot whose state has moved on: calls go where it says.
pub(crate) struct Moved {
    data: *mut (),
    table: *const (),
}

impl Callee for Moved {
    fn fault(&self, method: &'static str, status: Status) -> CallError {
        Told.fault(method, status)
    }

    fn through_gate(&self, _: &'static str, body: &mut dyn FnMut(*mut (), *const (), &dyn Callee)) -> Result<(), CallError> {
        body(self.data, self.table, &Told);
        Ok(())
    }
}

/// How the instance is reached.
pub(crate) enum Through {
    /// As a claim does.
    Claim,
    /// As a claim does whose plugin was built when the interface had this many methods.
    OlderTable(usize),
    /// As a view does whose slot hands over state.
    Gate,
    /// As a view does that is older than the slot.
    NoGate,
}

/// A client and what it calls. The instance is leaked, which spares the tests the end of its life.
pub(crate) struct Served<I: ?Sized + Interface> {
    connection: Connection,
    interface: std::marker::PhantomData<Box<I>>,
}

impl<I: ?Sized + Interface> Deref for Served<I> {
    type Target = I::Client;

    fn deref(&self) -> &I::Client {
        I::client(&self.connection)
    }
}

impl<I: ?Sized + Interface> DerefMut for Served<I> {
    fn deref_mut(&mut self) -> &mut I::Client {
        I::client_mut(&mut self.connection)
    }
}

pub(crate) fn connect<I, T>(instance: T, through: Through) -> Served<I>
where
    I: ?Sized + Implements<T>,
{
    let data = (&raw mut *Box::leak(Box::new(instance))).cast::<()>();
    let table = <I as Implements<T>>::TABLE;
    let nowhere = (ptr::null_mut(), ptr::null());
    let told: &dyn Callee = &Told;
    // SAFETY: data and table are of one `T` for `I`; the instance, the copied table and the callee are leaked or static. A table
    // is `repr(C)`: the number of its functions, then a pointer for each. Where the number is less than that, no client reads
    // on. With a gate, the connection's own data and table are not used.
    let connection = unsafe {
        match through {
            Through::Claim => Connection::new(data, table, told, false),
            Through::OlderTable(functions) => {
                let words = 1 + I::DESCRIPTION.methods.len();
                let copy = Box::leak(vec![ptr::null::<()>(); words].into_boxed_slice()).as_mut_ptr();
                ptr::copy_nonoverlapping(table.cast::<*const ()>(), copy, words);
                copy.cast::<usize>().write(functions);
                Connection::new(data, copy.cast_const().cast(), told, false)
            }
            Through::Gate => {
                let moved: &dyn Callee = Box::leak(Box::new(Moved { data, table }));
                Connection::new(nowhere.0, nowhere.1, moved, true)
            }
            Through::NoGate => Connection::new(nowhere.0, nowhere.1, told, true),
        }
    };
    Served {
        connection,
        interface: std::marker::PhantomData,
    }
}

/// The message of an error is the status, here.
pub(crate) fn status_of<T: std::fmt::Debug>(result: Result<T, CallError>) -> String {
    match result {
        Ok(value) => panic!("expected an error, got {value:?}"),
        Err(error) => match error.fault() {
            Fault::Panicked { message, .. } => message.to_string(),
            other => format!("{other:?}"),
        },
    }
}

/// Most tests go on with `?`.
pub(crate) type Outcome = Result<(), CallError>;
