//! The host's functions through which an image calls its peers, for engines that give a plugin a [`HostTable`]. Each function finds the
//! image's [`PeerTable`] by the image's token.
//!
//! [`HostTable`]: reslot_plugin_api::__private::HostTable
//!
//! The functions keep no reference to memory of the image: they copy names and parse descriptions before they return.

use crate::peer_table::PeerTable;
use reslot_artifact::manifest::Interface;
use reslot_plugin_api::{
    __private::{FaultAbi, LoadedAbi, PassAbi, PeerRefusalAbi, ROption, RResult, RSlice, RStr, Status},
    CallError, Fault, PeerErrorKind,
};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    ptr::null,
};

/// The type to which the token of an image points.
pub trait HasPeers {
    /// The image's peers; none before they were set.
    fn peers(&self) -> Option<&dyn PeerTable>;
}

/// # Safety
/// `token` must point to a `T` that lives for `'a`.
unsafe fn peers_of<'a, T: HasPeers + 'a>(token: *const ()) -> Option<&'a dyn PeerTable> {
    // SAFETY: the caller promises that the token is valid for `'a`. The count is not raised: the engine that has given the image its token
    // keeps the value alive while code of the image runs.
    unsafe { &*token.cast::<T>() }.peers()
}

/// The function `peer_find` of the table.
///
/// # Safety
/// It is called by an image, with its own token, which points to a `T` that lives as long as code of the image runs, and with answers of the
/// table's other functions.
pub unsafe extern "C" fn find<T: HasPeers>(
    token: *const (),
    name: RStr<'_>,
    interface: RSlice<'_, u8>,
) -> RResult<*const (), PeerRefusalAbi> {
    // SAFETY: called from the image.
    let Some(peers) = (unsafe { peers_of::<T>(token) }) else {
        return RResult::RErr(PeerRefusalAbi::new(
            PeerErrorKind::NoHost,
            "the plugin is not connected to a host",
        ));
    };
    let found = Interface::parse(&interface)
        .map_err(|error| {
            let words = format!("the description of the interface cannot be read: {error}");
            (PeerErrorKind::Interface, words)
        })
        .and_then(|interface| peers.find(&name, interface));
    match found {
        Ok(handle) => RResult::ROk(handle),
        Err((kind, words)) => RResult::RErr(PeerRefusalAbi::new(kind, &words)),
    }
}

/// The function `peer_load` of the table.
///
/// # Safety
/// It is called by an image, with its own token, which points to a `T` that lives as long as code of the image runs, and with answers of the
/// table's other functions.
pub unsafe extern "C" fn load<T: HasPeers>(token: *const (), handle: *const ()) -> LoadedAbi {
    // SAFETY: called from the image, with a handle that `find` answered it.
    match unsafe { peers_of::<T>(token) } {
        // SAFETY: as above.
        Some(peers) => unsafe { peers.load(handle) },
        None => LoadedAbi {
            hold: null(),
            core: null(),
            data: null::<()>().cast_mut(),
            table: null(),
            gated: true,
        },
    }
}

/// The function `peer_release` of the table.
///
/// # Safety
/// It is called by an image, with its own token, which points to a `T` that lives as long as code of the image runs, and with answers of the
/// table's other functions.
pub unsafe extern "C" fn release<T: HasPeers>(token: *const (), hold: *const ()) {
    // SAFETY: called from the image, with a hold that `load` answered it, once.
    if let Some(peers) = unsafe { peers_of::<T>(token) } {
        // SAFETY: as above.
        unsafe { peers.release(hold) };
    }
}

/// The function `peer_pass` of the table.
///
/// # Safety
/// It is called by an image, with its own token, which points to a `T` that lives as long as code of the image runs, and with answers of the
/// table's other functions.
pub unsafe extern "C" fn pass<T: HasPeers>(token: *const (), core: *const (), body: PassAbi) -> ROption<FaultAbi> {
    // SAFETY: called from the image, with a core whose hold it has.
    match unsafe { peers_of::<T>(token).map(|peers| peers.pass(core, body)) } {
        Some(Ok(())) => ROption::RNone,
        Some(Err(error)) => ROption::RSome(FaultAbi::from(&error)),
        None => ROption::RSome(FaultAbi::from(&internal_fault())),
    }
}

/// The function `peer_fault` of the table.
///
/// # Safety
/// It is called by an image, with its own token, which points to a `T` that lives as long as code of the image runs, and with answers of the
/// table's other functions.
pub unsafe extern "C" fn fault<T: HasPeers>(token: *const (), core: *const (), method: RStr<'_>, status: u32) -> FaultAbi {
    // This calls the program's subscriber, whose panic must not reach the image.
    let error = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: called from the image, with a core whose hold it has.
        unsafe { peers_of::<T>(token).map(|peers| peers.fault(core, &method, Status(status))) }
    }));
    FaultAbi::from(&error.ok().flatten().unwrap_or_else(internal_fault))
}

/// The function `peer_absent` of the table.
///
/// # Safety
/// It is called by an image, with its own token, which points to a `T` that lives as long as code of the image runs, and with answers of the
/// table's other functions.
pub unsafe extern "C" fn absent<T: HasPeers>(token: *const (), handle: *const ()) -> FaultAbi {
    // SAFETY: called from the image, with a handle that `find` answered it.
    let error = unsafe { peers_of::<T>(token).map(|peers| peers.absent(handle)) };
    FaultAbi::from(&error.unwrap_or_else(internal_fault))
}

/// The error if the host's side has panicked, or (a bug) the image has no peers.
#[cold]
fn internal_fault() -> CallError {
    CallError::new("", 0, "", Fault::Vacant)
}
