//! One captured stack: its addresses, and which modules they belonged to at that moment.

use super::{OPENED_HERE, Place, Places, Symbols, program};
use crate::loaded;
use reslot_plugin_api::{__private::Stack, Frame, Origin};
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

/// The stack of a panic, shared by all panics that had the same.
pub(super) struct CapturedStack {
    /// The images on it, that of the panic first.
    images: Vec<Arc<Symbols>>,
    /// Libraries that are neither images nor the host program.
    libraries: Vec<loaded::Module>,
    identity: Arc<[usize]>,
    kept: AtomicBool,
}

/// What tells stacks apart: how many images are on it and which, then the addresses. Addresses alone do not, they are used again.
pub(super) fn identity(images: &[Arc<Symbols>], addresses: &[usize]) -> Vec<usize> {
    let numbers = images.iter().map(|symbols| symbols.image as usize);
    let head = std::iter::once(images.len()).chain(numbers);
    head.chain(addresses.iter().copied()).collect()
}

/// Whose code a return address is.
enum Owner<'a> {
    Image(Origin, &'a Symbols),
    Library(&'a loaded::Module),
    Unknown,
}

impl CapturedStack {
    pub(super) fn new(images: Vec<Arc<Symbols>>, identity: Arc<[usize]>) -> Self {
        let mut stack = Self {
            images,
            libraries: Vec::new(),
            identity,
            kept: AtomicBool::new(false),
        };
        let unknown = |address: &usize| matches!(stack.owner(*address), Owner::Unknown);
        let unknown: Vec<usize> = stack.addresses().iter().copied().filter(unknown).collect();
        if OPENED_HERE.get().load(Ordering::Relaxed) {
            stack.libraries = loaded::modules_of(&unknown);
        }
        stack
    }

    /// Whether it was told to anybody. A panic that the plugin caught itself is remembered until the next, and nobody asks.
    pub(super) fn is_kept(&self) -> bool {
        // The call that was told of it ended before the image is closed, and the reaper heard of that through a lock.
        self.kept.load(Ordering::Relaxed)
    }

    pub(super) fn identity_words(&self) -> &[usize] {
        &self.identity
    }

    pub(super) fn identity_shared(&self) -> Arc<[usize]> {
        self.identity.clone()
    }

    /// The addresses that are the module's, innermost first.
    pub(super) fn addresses_in(&self, module: &Symbols) -> impl Iterator<Item = usize> {
        self.addresses().iter().copied().filter(|address| module.covers(*address))
    }

    fn owner(&self, address: usize) -> Owner<'_> {
        let images = self.images.iter().enumerate();
        if let Some((at, symbols)) = images.into_iter().find(|(_, symbols)| symbols.covers(address)) {
            let origin = if at == 0 { Origin::Plugin } else { Origin::OtherPlugin };
            return Owner::Image(origin, symbols);
        }
        if let Some(program) = program().filter(|program| program.covers(address)) {
            return Owner::Image(Origin::Host, program);
        }
        let covers = |library: &&loaded::Module| library.mapped.covers(address);
        self.libraries.iter().find(covers).map_or(Owner::Unknown, Owner::Library)
    }
}

impl Stack for CapturedStack {
    fn identity(&self) -> &[usize] {
        &self.identity
    }

    fn addresses(&self) -> &[usize] {
        &self.identity[1 + self.images.len()..]
    }

    fn frames(&self) -> Vec<Frame> {
        // All of one module at once: its file is opened once.
        for symbols in self.images.iter().map(|symbols| &**symbols).chain(program()) {
            symbols.look_up(&self.addresses_in(symbols).collect::<Vec<_>>());
        }
        self.addresses().iter().flat_map(|address| self.frames_at(*address)).collect()
    }

    fn keep(&self) {
        self.kept.store(true, Ordering::Relaxed);
    }

    fn remark(&self) -> Option<String> {
        self.images.first().and_then(|symbols| symbols.remark())
    }
}

impl CapturedStack {
    fn frames_at(&self, address: usize) -> Vec<Frame> {
        let (origin, symbols) = match self.owner(address) {
            Owner::Image(origin, symbols) => (origin, symbols),
            Owner::Library(module) => {
                let offset = address - module.mapped.base;
                return vec![Frame::new(Origin::Elsewhere, module.name.clone(), offset)];
            }
            Owner::Unknown => return vec![Frame::new(Origin::Elsewhere, "".into(), address)],
        };
        let frame = || Frame::new(origin, symbols.name.clone(), symbols.offset(address));
        let places: Option<Places> = symbols.look_up(&[address]).into_iter().next().flatten();
        let Some(places) = places.filter(|places| !places.is_empty()) else {
            return vec![frame()];
        };
        let named = |(at, place): (usize, &Place)| {
            let mut frame = frame();
            frame.function = place.function.clone();
            frame.file = place.file.clone();
            (frame.line, frame.column) = (place.line, place.column);
            frame.inlined = at + 1 < places.len();
            frame
        };
        places.iter().enumerate().map(named).collect()
    }
}
