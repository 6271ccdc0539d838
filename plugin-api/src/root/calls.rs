//! How one call crosses as bytes between a plugin and the process that has mapped it for a host elsewhere, see [`marshal`](crate::marshal).

use abi_stable::{
    StableAbi,
    std_types::{RSlice, RStr},
};

use super::BufferAbi;

/// A call, or a call back.
#[repr(C)]
#[derive(StableAbi, Clone, Copy)]
pub struct RequestAbi<'a> {
    /// [`INSTANCE`](crate::marshal::INSTANCE), or the handle of a lent object.
    pub target: u64,
    /// The index of the method.
    pub method: u32,
    /// The arguments.
    pub bytes: RSlice<'a, u8>,
}

/// The way from a plugin to the objects that its caller has lent.
#[repr(C)]
#[derive(StableAbi, Clone, Copy)]
pub struct LinkAbi {
    /// The first argument of the functions.
    pub context: *const (),
    /// Makes a call of a lent object, and returns its [`code`](crate::marshal::code). While it waits, calls of what the plugin has lent in this
    /// call are served with `lent`.
    pub call: unsafe extern "C" fn(context: *const (), request: RequestAbi<'_>, reply: &mut BufferAbi, lent: LentAbi) -> u32,
    /// The reason for which such a call failed.
    pub failed: unsafe extern "C" fn(context: *const (), method: u32, reason: RStr<'_>),
}

/// What a plugin has lent in one call.
#[repr(C)]
#[derive(StableAbi, Clone, Copy)]
pub struct LentAbi {
    /// The first argument of the function.
    pub context: *const (),
    /// Calls one of the objects, and returns the code. It may be called on the thread and during the call in which they are lent.
    pub serve:
        unsafe extern "C" fn(context: *const (), request: RequestAbi<'_>, reply: &mut BufferAbi, link: LinkAbi) -> u32,
}
