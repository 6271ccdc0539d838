//! The host's functions through which an image calls the plugins beside it. Each finds the image's [`Neighbours`] by its token.
//!
//! Nothing of the image's memory is kept: names are copied and descriptions parsed before the functions return.

use super::super::{neighbours::Neighbours, resources::ImageResources};
use reslot_artifact::manifest::Interface;
use reslot_plugin_api::{
    __private::{FaultAbi, LoadedAbi, PassAbi, PeerRefusalAbi, ROption, RResult, RSlice, RStr, Status},
    CallError, Fault, PeerErrorKind,
};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    ptr::null,
};

/// # Safety
/// `token` must be a token of a living ledger for `'a`: code of its image is on the stack, see the module above.
unsafe fn neighbours<'a>(token: *const ()) -> Option<&'a dyn Neighbours> {
    // SAFETY: the caller's promise. No count is raised: the image's owner keeps the ledger while the image is mapped.
    unsafe { &*token.cast::<ImageResources>() }.neighbours()
}

pub(super) unsafe extern "C" fn find(
    token: *const (),
    name: RStr<'_>,
    interface: RSlice<'_, u8>,
) -> RResult<*const (), PeerRefusalAbi> {
    // SAFETY: called from the image.
    let Some(neighbours) = (unsafe { neighbours(token) }) else {
        return RResult::RErr(PeerRefusalAbi::new(
            PeerErrorKind::NoHost,
            "the image has not been told its host",
        ));
    };
    let found = Interface::parse(&interface)
        .map_err(|error| {
            let words = format!("the interface by which it is to be called was not understood: {error}");
            (PeerErrorKind::Interface, words)
        })
        .and_then(|interface| neighbours.find(&name, interface));
    match found {
        Ok(handle) => RResult::ROk(handle),
        Err((kind, words)) => RResult::RErr(PeerRefusalAbi::new(kind, &words)),
    }
}

pub(super) unsafe extern "C" fn load(token: *const (), handle: *const ()) -> LoadedAbi {
    // SAFETY: called from the image, with a handle that `find` answered it.
    match unsafe { neighbours(token) } {
        // SAFETY: as above.
        Some(neighbours) => unsafe { neighbours.load(handle) },
        None => LoadedAbi {
            hold: null(),
            core: null(),
            data: null::<()>().cast_mut(),
            table: null(),
            gated: true,
        },
    }
}

pub(super) unsafe extern "C" fn release(token: *const (), hold: *const ()) {
    // SAFETY: called from the image, with a hold that `load` answered it, once.
    if let Some(neighbours) = unsafe { neighbours(token) } {
        // SAFETY: as above.
        unsafe { neighbours.release(hold) };
    }
}

pub(super) unsafe extern "C" fn pass(token: *const (), core: *const (), body: PassAbi) -> ROption<FaultAbi> {
    // SAFETY: called from the image, with a core whose hold it has.
    match unsafe { neighbours(token).map(|neighbours| neighbours.pass(core, body)) } {
        Some(Ok(())) => ROption::RNone,
        Some(Err(error)) => ROption::RSome(FaultAbi::from(&error)),
        None => ROption::RSome(FaultAbi::from(&untold())),
    }
}

pub(super) unsafe extern "C" fn fault(token: *const (), core: *const (), method: RStr<'_>, status: u32) -> FaultAbi {
    // The event is told to the embedder's subscriber, whose panic must not reach the image.
    let told = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: called from the image, with a core whose hold it has.
        unsafe { neighbours(token).map(|neighbours| neighbours.fault(core, &method, Status(status))) }
    }));
    FaultAbi::from(&told.ok().flatten().unwrap_or_else(untold))
}

pub(super) unsafe extern "C" fn absent(token: *const (), handle: *const ()) -> FaultAbi {
    // SAFETY: called from the image, with a handle that `find` answered it.
    let error = unsafe { neighbours(token).map(|neighbours| neighbours.absent(handle)) };
    FaultAbi::from(&error.unwrap_or_else(untold))
}

/// For what cannot happen, or has panicked on its way: there is nothing to name.
#[cold]
fn untold() -> CallError {
    CallError::new("", 0, "", Fault::Vacant)
}
