//! The peers of an image: the other plugins that its code can call. The runtime implements this, because an engine knows neither slots nor
//! the host.

use reslot_artifact::manifest::Interface;
use reslot_plugin_api::{
    __private::{LoadedAbi, PassAbi, Status},
    CallError, PeerErrorKind,
};

/// The peers of one image. This lives as long as the image.
pub trait PeerTable: Send + Sync {
    /// Returns a handle to a peer that is called by this interface. The handle is valid as long as `self`.
    fn find(&self, name: &str, interface: Interface) -> Result<*const (), (PeerErrorKind, String)>;

    /// Holds the peer's current generation. Without one, `hold` is null.
    ///
    /// # Safety
    /// `handle` must be an answer of `find` of this value.
    unsafe fn load(&self, handle: *const ()) -> LoadedAbi;

    /// Releases a hold.
    ///
    /// # Safety
    /// `hold` must be an answer of `load`, and must not be used afterwards.
    unsafe fn release(&self, hold: *const ());

    /// Calls `body` inside the gate. Returns an error of the gate; `body` was not called in that case.
    ///
    /// # Safety
    /// `core` must be an answer of `load` whose hold is not released, and `body` must be valid for a call.
    unsafe fn pass(&self, core: *const (), body: PassAbi) -> Result<(), CallError>;

    /// Returns the error of a call that ended with `status`, and reports it to the host. Keeps no reference to `method`.
    ///
    /// # Safety
    /// `core` must be an answer of `load`, or the core that the body of `pass` got, and the hold must not be released.
    unsafe fn fault(&self, core: *const (), method: &str, status: Status) -> CallError;

    /// Returns the reason why `load` found no current generation.
    ///
    /// # Safety
    /// `handle` must be an answer of `find` of this value.
    unsafe fn absent(&self, handle: *const ()) -> CallError;
}
