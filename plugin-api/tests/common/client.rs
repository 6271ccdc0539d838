//! A client in front of an instance, as a claim or a view has it, without a host; and the errors of its calls.

use reslot_plugin_api::{__private::Connection, Backtrace, CallError, Fault, Interface};
use std::{
    marker::PhantomData,
    ops::{Deref, DerefMut},
};

/// A client, and what has to live as long as its connection.
pub(crate) struct Served<I: ?Sized + Interface, K = ()> {
    connection: Connection,
    #[allow(dead_code, reason = "some of these programs read it, others only keep it alive")]
    pub(crate) kept: K,
    interface: PhantomData<Box<I>>,
}

impl<I: ?Sized + Interface, K> Served<I, K> {
    pub(crate) fn new(connection: Connection, kept: K) -> Self {
        Self {
            connection,
            kept,
            interface: PhantomData,
        }
    }
}

impl<I: ?Sized + Interface, K> Deref for Served<I, K> {
    type Target = I::Client;

    fn deref(&self) -> &I::Client {
        I::client(&self.connection)
    }
}

impl<I: ?Sized + Interface, K> DerefMut for Served<I, K> {
    fn deref_mut(&mut self) -> &mut I::Client {
        I::client_mut(&mut self.connection)
    }
}

/// The error of a call that has failed, with this message.
pub(crate) fn failed(method: &'static str, message: String) -> CallError {
    let fault = Fault::Panicked {
        message: message.into(),
        location: None,
        backtrace: Backtrace::default(),
    };
    CallError::new("test", 1, method, fault)
}

/// The error of a call through the gate of a slot that has nothing.
pub(crate) fn vacant(method: &'static str) -> CallError {
    CallError::new("test", 1, method, Fault::Vacant)
}

/// The message of an error.
pub(crate) fn words<T: std::fmt::Debug>(result: Result<T, CallError>) -> String {
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
