//! The backtrace of a panic inside a plugin. This file has the value and its text; the host captures stacks and looks up
//! names, behind [`Stack`].

mod machinery;

use std::{
    fmt::{self, Display, Formatter},
    sync::Arc,
};

/// Where a plugin panicked: the active functions, innermost first.
///
/// It is cheap to clone, and cheap until it is read: the panic records only addresses. Reading or printing the frames looks
/// up the names. At the latest this happens when the plugin's image is unloaded, so the names are right even if other builds
/// are mapped at the same addresses later.
///
/// [`Display`] prints numbered frames like std's short backtrace, without the frames of the panic itself and of the code
/// between host and plugin. `{:#}` prints every frame, with its offset in its file.
///
/// ```
/// use reslot_plugin_api::{Backtrace, Origin};
///
/// /// The function of the plugin that panicked, for a short message.
/// fn culprit(backtrace: &Backtrace) -> Option<String> {
///     let frames = backtrace.frames();
///     let own = frames.iter().find(|frame| frame.origin == Origin::Plugin)?;
///     own.function.as_ref().map(ToString::to_string)
/// }
/// # assert!(culprit(&Backtrace::default()).is_none() && Backtrace::default().is_empty());
/// ```
#[derive(Clone, Default)]
pub struct Backtrace(Option<Arc<dyn Stack>>);

/// One function of a [`Backtrace`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Frame {
    /// The owner of the code.
    pub origin: Origin,
    /// The plugin's name, or the name of the program's or the library's file. Empty if the address is unknown.
    pub module: Arc<str>,
    /// The return address, relative to where the module's file is mapped: the form that tools like `addr2line` use.
    pub offset: usize,
    /// The function, demangled. None if the file was stripped.
    pub function: Option<Arc<str>>,
    /// Its source file.
    pub file: Option<Arc<str>>,
    /// The line in it.
    pub line: Option<u32>,
    /// The column in the line.
    pub column: Option<u32>,
    /// Whether the function was inlined into the one that follows, so that both have one address.
    pub inlined: bool,
}

/// The owner of a [`Frame`]'s code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Origin {
    /// The image of the plugin that panicked.
    Plugin,
    /// The image of another plugin, further out in the stack.
    OtherPlugin,
    /// The host program's own executable.
    Host,
    /// Another library, such as libc, or unknown code.
    Elsewhere,
}

impl Frame {
    #[doc(hidden)]
    pub fn new(origin: Origin, module: Arc<str>, offset: usize) -> Self {
        Self {
            origin,
            module,
            offset,
            function: None,
            file: None,
            line: None,
            column: None,
            inlined: false,
        }
    }
}

/// A captured stack, on the side that can symbolise it.
pub trait Stack: Send + Sync {
    /// The identity of the stack: its images and return addresses.
    fn identity(&self) -> &[usize];
    /// Return addresses, innermost first.
    fn addresses(&self) -> &[usize];
    /// Looks up the names.
    fn frames(&self) -> Vec<Frame>;
    /// Marks the stack as visible to users, who may ask for its names at any time.
    fn keep(&self);
    /// Why names are missing, if they are.
    fn remark(&self) -> Option<String>;
}

impl Backtrace {
    #[doc(hidden)]
    pub fn new(stack: Arc<dyn Stack>) -> Self {
        Self(Some(stack))
    }

    #[doc(hidden)]
    pub fn keep(&self) {
        self.0.iter().for_each(|stack| stack.keep());
    }

    /// Whether it has no frames, because the panic was not in the plugin, or did not run the panic hook.
    pub fn is_empty(&self) -> bool {
        self.addresses().is_empty()
    }

    /// The raw return addresses, innermost first, as they were when the panic happened. Nothing is looked up.
    pub fn addresses(&self) -> &[usize] {
        self.0.as_ref().map_or(&[], |stack| stack.addresses())
    }

    /// Every frame, innermost first, with the functions that were inlined. It looks up unknown names on the calling thread:
    /// a few milliseconds for the first backtrace of an image, much less for those that pass through the same places.
    pub fn frames(&self) -> Vec<Frame> {
        self.0.as_ref().map_or_else(Vec::new, |stack| stack.frames())
    }

    /// Why names are missing, if they are: the artifact was stripped, or cannot be read.
    pub fn remark(&self) -> Option<String> {
        self.0.as_ref().and_then(|stack| stack.remark())
    }
}

/// Two backtraces are equal if they have the same places in the same images. Backtraces of two generations are never equal,
/// even if their addresses are.
impl PartialEq for Backtrace {
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (None, None) => true,
            (Some(one), Some(other)) => Arc::ptr_eq(one, other) || one.identity() == other.identity(),
            _ => false,
        }
    }
}

impl Eq for Backtrace {}

impl fmt::Debug for Backtrace {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let frames = self.frames();
        let shown = machinery::without(&frames).map(|(_, frame)| Short(frame).to_string());
        f.debug_list().entries(shown).finish()
    }
}

impl Display for Backtrace {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("(no backtrace was captured)");
        }
        let frames = self.frames();
        let here = std::env::current_dir().ok();
        let here = here.as_ref().and_then(|path| path.to_str());
        let shown: Vec<(usize, &Frame)> = match f.alternate() {
            true => frames.iter().enumerate().collect(),
            false => machinery::without(&frames).collect(),
        };
        let mut origin = Origin::Plugin;
        for (at, (number, frame)) in shown.iter().enumerate() {
            if at > 0 {
                f.write_str("\n")?;
            }
            if frame.origin != origin && frame.origin != Origin::Elsewhere {
                origin = frame.origin;
                match origin {
                    Origin::Host => f.write_str("      -- called by the host program --\n")?,
                    Origin::Plugin => f.write_str("      -- called by the plugin --\n")?,
                    _ => writeln!(f, "      -- called by the plugin {:?} --", &*frame.module)?,
                }
            }
            let number = if f.alternate() { *number } else { at };
            write!(f, "{number:4}: {}", Function(frame))?;
            if f.alternate() && frame.function.is_some() {
                write!(f, " ({} + {:#x})", frame.module, frame.offset)?;
            }
            if let Some(file) = &frame.file {
                write!(f, "\n             at {}", Place { frame, file, here })?;
            }
        }
        match self.remark() {
            Some(remark) => write!(f, "\n      ({remark})"),
            None => Ok(()),
        }
    }
}

/// The function's name, or its offset.
struct Function<'a>(&'a Frame);

impl Display for Function<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.0.function {
            Some(function) => f.write_str(function),
            None if self.0.module.is_empty() => write!(f, "{:#x}", self.0.offset),
            None => write!(f, "{} + {:#x}", self.0.module, self.0.offset),
        }
    }
}

/// `file:line:column`, the file as seen from the working folder, as std does it.
struct Place<'a> {
    frame: &'a Frame,
    file: &'a str,
    here: Option<&'a str>,
}

impl Display for Place<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let below = |here| self.file.strip_prefix(here)?.strip_prefix('/');
        match self.here.and_then(below) {
            Some(below) => write!(f, "./{below}")?,
            None => f.write_str(self.file)?,
        }
        for number in [self.frame.line, self.frame.column].into_iter().flatten() {
            write!(f, ":{number}")?;
        }
        Ok(())
    }
}

/// A frame on one line.
struct Short<'a>(&'a Frame);

impl Display for Short<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        Function(self.0).fmt(f)?;
        match &self.0.file {
            Some(file) => {
                let frame = self.0;
                write!(f, " at {}", Place { frame, file, here: None })
            }
            None => Ok(()),
        }
    }
}
