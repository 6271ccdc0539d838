//! How the clients of these tests reach their instances, without a host. The one `unsafe` of these tests stands here, where a host stands.

use crate::client::{failed, vacant};
use reslot_plugin_api::{
    __private::{Callee, Connection, Status},
    CallError, Implements,
};
use std::ptr;

pub(crate) use crate::client::{Outcome, Served, words};

/// What a host does after a failed call, as plainly as can be: the status becomes the message.
pub(crate) struct Told;

impl Callee for Told {
    fn fault(&self, method: &'static str, status: Status) -> CallError {
        failed(method, format!("{status:?}"))
    }

    fn through_gate(
        &self,
        method: &'static str,
        _: &mut dyn FnMut(*mut (), *const (), &dyn Callee),
    ) -> Result<(), CallError> {
        Err(vacant(method))
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

/// The instance is leaked, which spares the tests the end of its life.
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
    Served::new(connection, ())
}
