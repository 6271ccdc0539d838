//! Calls from one plugin to another: by name, through the host, to the current generation.
//!
//! # Why that is sound
//! A [`Peer`] is a number of the host's, good as long as the image is mapped, and holds no generation. A [`LoadedPeer`]
//! holds one, through the host, from its making to its drop; all that is called through it, and every wire value that is
//! copied out and dropped, lies between the two, so the callee's image is mapped. If it is never dropped, that image stays
//! mapped, which is only a leak. A `LoadedPeer` borrows its peer and stays on its thread: it lives in a call of this plugin
//! or in one of its threads, so the code that drops it is mapped as well.
//!
//! A peer of a linked plugin keeps the attachment alive, and so the host's side, because such a plugin has no image that
//! would end before its statics.
//!
//! Errors and other texts of the host are copied into this image's memory, and the host's destructor drops the originals
//! before a call returns. The host keeps nothing of this image: the interface's description is parsed, and a method's name
//! is copied, before the host's function returns.

mod refusal;

use crate::{
    attachment::{Attachment, Services},
    error::CallError,
    inside,
    interface::{Callee, Connection, Interface, Shared, Status},
    manifest::interface_as_json,
    plugin::Context,
    root::PassAbi,
};

use abi_stable::std_types::{ROption, RResult};
use std::{fmt, marker::PhantomData, ops::Deref, sync::Arc};

/// Another plugin of the same host that this one calls, from [`Context::peer`]. You can clone it, send it to threads of
/// [`Context::spawn`], and keep it in the plugin's value.
///
/// It is only a name: between calls it holds nothing, so the other plugin can be reloaded and its old image unloaded as if
/// there were no peer. [`load`](Self::load) returns the current generation, for one or a few calls.
///
/// ```no_run
/// use reslot_plugin_api::{CallError, Context, Peer, Plugin, PluginError, interface};
///
/// #[interface]
/// pub trait Pricer {
///     fn price(&self, units: u64) -> u64;
/// }
///
/// #[interface]
/// pub trait Trading {
///     fn worth(&self, units: u64) -> Result<u64, String>;
/// }
///
/// #[derive(Default)]
/// struct Desk {
///     pricer: Option<Peer<dyn Pricer>>,
/// }
///
/// impl Plugin for Desk {
///     fn start(&mut self, context: &Context<'_>) -> Result<(), PluginError> {
///         self.pricer = Some(context.peer("pricer")?);
///         Ok(())
///     }
/// }
///
/// impl Trading for Desk {
///     fn worth(&self, units: u64) -> Result<u64, String> {
///         let pricer = self.pricer.as_ref().ok_or("not started")?;
///         pricer.load().price(units).map_err(|error: CallError| error.to_string())
///     }
/// }
/// # fn main() {}
/// ```
///
/// # Which calls are possible
/// A plugin with state is called through its gate: while its state is handed over, calls wait, and then go to the successor.
/// Calls may form a cycle, because the gates let calls pass that are already inside. Two things are not possible. The
/// `start` of a candidate must not call the plugin whose state it gets, directly or through others (that call returns
/// [`Fault::HandingOver`](crate::Fault::HandingOver)). And a `start` must not wait for another *thread* that makes such a
/// call: that thread waits for the end of the hand-over, and so for the `start`.
///
/// # What a call costs
///
/// Beyond a call from the host program through a view: `load` and its end are two calls into the host, about a load of an
/// `ArcSwap` and a count up and down of the generation's holders; nothing is allocated. Make several calls through one
/// [`LoadedPeer`] where that matters: each of them is one indirect call and a compare. A plugin with state is called through
/// its gate, in any case: one more call into the host and back, and a readers' lock. Measured with such a plugin, one `load`
/// for each call: 60 to 90 ns, of which a call through a view, gate and all, is 16 to 20 ns. In a plugin that is linked into
/// the program, `load` allocates a few words besides.
pub struct Peer<I: ?Sized + Shared> {
    name: Arc<str>,
    handle: Handle,
    /// Of a linked plugin.
    attachment: Option<Attachment>,
    interface: PhantomData<fn() -> Box<I>>,
}

/// The host's handle for the slot. It is never dereferenced here.
#[derive(Clone, Copy)]
struct Handle(*const ());

// SAFETY: the handle is a number to this side, and the host may be handed it from any thread.
unsafe impl Send for Handle {}
// SAFETY: as above.
unsafe impl Sync for Handle {}

/// Why another plugin is not available. Its text says what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerError {
    kind: PeerErrorKind,
    name: String,
    words: String,
}

/// What is wrong with a name given to [`Context::peer`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum PeerErrorKind {
    /// The plugin has not declared that it uses this one.
    Undeclared,
    /// It is the plugin's own name.
    Itself,
    /// Nothing of this name is loaded.
    Unknown,
    /// The slot is claimed, so only its owner may call it.
    Claimed,
    /// It has another interface than the requested one.
    Interface,
    /// It was being reloaded, and that took longer than the host waits.
    Busy,
    /// The host was dropped, or this code does not run in one.
    NoHost,
}

impl PeerError {
    /// What is wrong.
    pub fn kind(&self) -> PeerErrorKind {
        self.kind
    }

    /// The requested name.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Display for PeerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the plugin {:?} cannot be called from here: {}", self.name, self.words)
    }
}

impl std::error::Error for PeerError {}

impl Context<'_> {
    /// Another plugin of the same host, with the interface `I`. The plugin must have this interface now, and as long as this
    /// plugin is loaded, builds with another interface are refused. Name it in the plugin's `uses = ["…"]`.
    ///
    /// An owner may claim it later. Then each call returns [`Fault::Claimed`](crate::Fault::Claimed) until the claim is
    /// dropped.
    ///
    /// # Errors
    /// If no plugin of this name is loaded, if it is claimed, or if it has another interface (the error lists the
    /// differences); also if the name is the plugin's own or is missing in `uses`. With `?` in `start`, the candidate is
    /// refused with this message.
    pub fn peer<I: ?Sized + Shared>(&self, name: &str) -> Result<Peer<I>, PeerError> {
        let refuse = |(kind, words)| PeerError {
            kind,
            name: name.to_owned(),
            words,
        };
        let services = self.attachment().map(Attachment::services).or_else(inside::host);
        let Some(Services { table, token }) = services else {
            let words = "it does not run in a host".to_owned();
            return Err(refuse((PeerErrorKind::NoHost, words)));
        };
        let interface = interface_as_json(I::DESCRIPTION);
        // SAFETY: table and token are the host's own, valid while this image is mapped or the attachment lives; name and interface live for the call.
        match unsafe { table.peer_find()(token, name.into(), interface.as_slice().into()) } {
            RResult::ROk(handle) => Ok(Peer {
                name: name.into(),
                handle: Handle(handle),
                attachment: self.attachment().cloned(),
                interface: PhantomData,
            }),
            RResult::RErr(refusal) => Err(refuse(refusal.copy_out())),
        }
    }
}

impl<I: ?Sized + Shared> Peer<I> {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The current generation, for one or a few calls. It dereferences to the interface's client.
    ///
    /// It keeps that generation and its image until it is dropped, so do not keep it while you wait for long. If the slot
    /// cannot be called now, each call returns a [`CallError`], whose [fault](CallError::fault) says why.
    #[inline]
    pub fn load(&self) -> LoadedPeer<'_, I> {
        let services = self.services();
        let Services { table, token } = services;
        // SAFETY: table and token are the host's own; the handle came from it, for this plugin.
        let loaded = unsafe { table.peer_load()(token, self.handle.0) };
        let is_absent = loaded.hold.is_null();
        let at = if is_absent { self.handle.0 } else { loaded.core };
        let linked = self.attachment.is_some().then(|| {
            let forwarding = Forwarding { services, at };
            Box::into_raw(Box::new(LinkedCallee { forwarding, is_absent })).cast_const()
        });
        let callee: *const dyn Callee = match linked {
            Some(linked) => linked,
            None if is_absent => at.cast::<Absent>(),
            None => at.cast::<Core>(),
        };
        LoadedPeer {
            // SAFETY: data and table are of one instance, whose interface the host has compared with this one. They and the core
            // live as long as the hold, which is given back in `drop`. Without a hold data and table are not used at all, and
            // the handle lives as long as this image is mapped, or as the attachment. What `linked` points to is freed in `drop`.
            connection: unsafe { Connection::new(loaded.data, loaded.table, callee, is_absent || loaded.gated) },
            hold: loaded.hold,
            linked,
            peer: self,
        }
    }

    #[inline]
    fn services(&self) -> Services {
        match &self.attachment {
            Some(attachment) => attachment.services(),
            None => services_of_image(),
        }
    }
}

/// A loaded plugin has a peer only if it has a host, and keeps that as long as it is mapped.
#[inline]
fn services_of_image() -> Services {
    inside::host().unwrap_or_else(|| std::process::abort())
}

impl<I: ?Sized + Shared> Clone for Peer<I> {
    fn clone(&self) -> Self {
        Self {
            name: self.name.clone(),
            handle: self.handle,
            attachment: self.attachment.clone(),
            interface: PhantomData,
        }
    }
}

impl<I: ?Sized + Shared> fmt::Debug for Peer<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peer").field("name", &self.name).finish_non_exhaustive()
    }
}

/// The generation of another plugin that was current at the time of [`Peer::load`]. Dereferences to the interface's client.
pub struct LoadedPeer<'a, I: ?Sized + Shared> {
    /// Valid as long as `hold`.
    connection: Connection,
    hold: *const (),
    /// Of a linked plugin: a box, to which the connection points.
    linked: Option<*const LinkedCallee>,
    peer: &'a Peer<I>,
}

impl<I: ?Sized + Shared> Deref for LoadedPeer<'_, I> {
    type Target = <I as Interface>::Client;

    #[inline(always)]
    fn deref(&self) -> &Self::Target {
        I::client(&self.connection)
    }
}

impl<I: ?Sized + Shared> Drop for LoadedPeer<'_, I> {
    #[inline]
    fn drop(&mut self) {
        if !self.hold.is_null() {
            let Services { table, token } = self.peer.services();
            // SAFETY: the hold came from `peer_load`, and is given back once.
            unsafe { table.peer_release()(token, self.hold) };
        }
        if let Some(linked) = self.linked {
            // SAFETY: made by `load` of a box; nobody uses the connection any more, which alone points there.
            drop(unsafe { Box::from_raw(linked.cast_mut()) });
        }
    }
}

impl<I: ?Sized + Shared> fmt::Debug for LoadedPeer<'_, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoadedPeer").finish_non_exhaustive()
    }
}

/// What stands behind a connection of a loaded plugin's [`LoadedPeer`], at the address that the host knows it by. Nothing lies here for this
/// side: only the address counts, so that a `LoadedPeer` may be moved although its connection points here.
struct Core([u8; 0]);

/// Like [`Core`], for an empty slot: the address is the peer's handle.
struct Absent([u8; 0]);

/// The same for a linked plugin: no static names its host, so that it stands here.
struct LinkedCallee {
    forwarding: Forwarding,
    is_absent: bool,
}

/// How a call that cannot be made directly goes to the host.
#[derive(Clone, Copy)]
struct Forwarding {
    services: Services,
    /// The host's pointer for the called generation; or the peer's handle, if the slot is empty.
    at: *const (),
}

impl Forwarding {
    fn of_image<T>(at: &T) -> Self {
        Self {
            services: services_of_image(),
            at: std::ptr::with_exposed_provenance(std::ptr::from_ref(at).addr()),
        }
    }

    fn fault(self, method: &'static str, status: Status) -> CallError {
        let Services { table, token } = self.services;
        // SAFETY: whoever has this core has the hold by which it lives; the name lives for the call.
        let fault = unsafe { table.peer_fault()(token, self.at, method.into(), status.0) };
        fault.copy_out(method)
    }

    fn absent(self, method: &'static str) -> CallError {
        let Services { table, token } = self.services;
        // SAFETY: the address is a handle that the host gave this plugin, whose image is mapped, or which is attached.
        let fault = unsafe { table.peer_absent()(token, self.at) };
        fault.copy_out(method)
    }

    fn through_gate(self, method: &'static str, body: Body<'_>, linked: bool) -> Result<(), CallError> {
        let Services { table, token } = self.services;
        let mut passing = Passing {
            body,
            linked: linked.then_some(self.services),
        };
        let pass = PassAbi {
            call: inside_gate,
            context: (&raw mut passing).cast(),
        };
        // SAFETY: whoever has this core has the hold by which it lives; the body is called before this returns, or never.
        match unsafe { table.peer_pass()(token, self.at, pass) } {
            ROption::RNone => Ok(()),
            ROption::RSome(fault) => Err(fault.copy_out(method)),
        }
    }
}

type Body<'a> = &'a mut dyn FnMut(*mut (), *const (), &dyn Callee);

/// The call to make inside the gate.
struct Passing<'a> {
    body: Body<'a>,
    /// Of a linked plugin.
    linked: Option<Services>,
}

/// The host calls this inside the gate. Every function of a table catches its panics, and so does a default body.
unsafe extern "C" fn inside_gate(context: *mut (), data: *mut (), table: *const (), core: *const ()) {
    // SAFETY: the context is what `through_gate` passed, alive and not otherwise borrowed during its call.
    let passing = unsafe { &mut *context.cast::<Passing<'_>>() };
    match passing.linked {
        Some(services) => {
            let forwarding = Forwarding { services, at: core };
            let is_absent = false;
            (passing.body)(data, table, &LinkedCallee { forwarding, is_absent });
        }
        None => {
            // SAFETY: nothing is read there, and any address but null is good for nothing at all.
            let core: &Core = unsafe { &*core.cast() };
            (passing.body)(data, table, core);
        }
    }
}

impl Callee for Core {
    fn fault(&self, method: &'static str, status: Status) -> CallError {
        Forwarding::of_image(self).fault(method, status)
    }

    fn through_gate(&self, method: &'static str, body: Body<'_>) -> Result<(), CallError> {
        Forwarding::of_image(self).through_gate(method, body, false)
    }
}

impl Callee for Absent {
    fn fault(&self, method: &'static str, _: Status) -> CallError {
        Forwarding::of_image(self).absent(method)
    }

    fn through_gate(&self, method: &'static str, _: Body<'_>) -> Result<(), CallError> {
        Err(Forwarding::of_image(self).absent(method))
    }
}

impl Callee for LinkedCallee {
    fn fault(&self, method: &'static str, status: Status) -> CallError {
        match self.is_absent {
            true => self.forwarding.absent(method),
            false => self.forwarding.fault(method, status),
        }
    }

    fn through_gate(&self, method: &'static str, body: Body<'_>) -> Result<(), CallError> {
        match self.is_absent {
            true => Err(self.forwarding.absent(method)),
            false => self.forwarding.through_gate(method, body, true),
        }
    }
}
