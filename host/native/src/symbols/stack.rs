//! One captured stack: its addresses, and the modules to which they belonged at that moment.

use super::{OPENED_HERE, SourceLocation, SourceLocations, Symbols, program};
use crate::loaded;
use reslot_plugin_api::{__private::Stack, Frame, Origin};
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

/// The stack of a panic, shared by all panics with the same stack.
pub(super) struct CapturedStack {
    /// The images on the stack, the panicking one first.
    images: Vec<Arc<Symbols>>,
    /// Libraries that are neither images nor the host program.
    libraries: Vec<loaded::Module>,
    identity: Arc<[usize]>,
    kept: AtomicBool,
}

/// The identity of a stack: the number of images, their ids, and then the addresses. Addresses alone are not enough, because another
/// image can be mapped there later.
pub(super) fn identity(images: &[Arc<Symbols>], addresses: &[usize]) -> Vec<usize> {
    let numbers = images.iter().map(|symbols| symbols.image as usize);
    let head = std::iter::once(images.len()).chain(numbers);
    head.chain(addresses.iter().copied()).collect()
}

/// The module to which a return address belongs.
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

    /// Whether the host has reported this stack. The stack of a panic that the plugin caught itself is not reported, and nobody needs
    /// its names.
    pub(super) fn is_kept(&self) -> bool {
        // Relaxed is enough: the reaper closes the image after the call that set the flag has ended, and the two synchronise through
        // a lock.
        self.kept.load(Ordering::Relaxed)
    }

    pub(super) fn identity_words(&self) -> &[usize] {
        &self.identity
    }

    pub(super) fn identity_shared(&self) -> Arc<[usize]> {
        self.identity.clone()
    }

    /// The addresses in the module, innermost first.
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
        // Look up all addresses of a module at once, so that its file is opened once.
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
        let locations: Option<SourceLocations> = symbols.look_up(&[address]).into_iter().next().flatten();
        let Some(locations) = locations.filter(|locations| !locations.is_empty()) else {
            return vec![frame()];
        };
        let named = |(at, location): (usize, &SourceLocation)| {
            let mut frame = frame();
            frame.function = location.function.clone();
            frame.file = location.file.clone();
            (frame.line, frame.column) = (location.line, location.column);
            frame.inlined = at + 1 < locations.len();
            frame
        };
        locations.iter().enumerate().map(named).collect()
    }
}
