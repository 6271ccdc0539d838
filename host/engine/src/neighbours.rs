//! The plugins beside an image, as its code asks for them. Who they are, and how one of them is called, is told from above: an
//! image knows neither slots nor the host.

use reslot_artifact::manifest::Interface;
use reslot_plugin_api::{
    __private::{LoadedAbi, PassAbi, Status},
    CallError, PeerErrorKind,
};

/// An image's way to the plugins beside it. Lives as long as the image's ledger, and so as long as the image is mapped.
pub trait Neighbours: Send + Sync {
    /// A handle to another plugin, to be called by this interface. It is good as long as `self`.
    fn find(&self, name: &str, interface: Interface) -> Result<*const (), (PeerErrorKind, String)>;

    /// Takes hold of the generation that serves there now; without one `hold` is null.
    ///
    /// # Safety
    /// `handle` must be an answer of `find` of this value.
    unsafe fn load(&self, handle: *const ()) -> LoadedAbi;

    /// Lets go of it.
    ///
    /// # Safety
    /// `hold` must be an answer of `load`, and is gone after that.
    unsafe fn release(&self, hold: *const ());

    /// Calls through the gate. The error is one of the gate's, then `body` was not called.
    ///
    /// # Safety
    /// `core` must be one that `load` answered, with its hold not let go of, and `body` what its signature says.
    unsafe fn pass(&self, core: *const (), body: PassAbi) -> Result<(), CallError>;

    /// The error of a call that ended with `status`, told to the host as well. Keeps nothing of `method`.
    ///
    /// # Safety
    /// `core` must be one that `load` answered, or that the body of `pass` got, with the hold not let go of.
    unsafe fn fault(&self, core: *const (), method: &str, status: Status) -> CallError;

    /// Why `load` had nothing to take hold of.
    ///
    /// # Safety
    /// `handle` must be an answer of `find` of this value.
    unsafe fn absent(&self, handle: *const ()) -> CallError;
}
