//! Comparing images in memory with their artifacts: what was compared, and what differs.

use crate::EngineKind;
use reslot_artifact::{ImageDifference, ImagePart};
use std::{fmt, sync::Arc, time::Duration};

/// The result of comparing one image with its artifact, by `Host::verify_images`.
///
/// ```
/// # use reslot_report as reslot;
/// use reslot::{Comparison, EngineKind, ImageReport};
///
/// let report = ImageReport::new("pricer".into(), 1, EngineKind::Linked, Comparison::NotApplicable);
/// assert!(!report.is_damaged());
/// println!("{report}");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ImageReport {
    /// The slot. The image of a shadow has the name `NAME~shadow`.
    pub slot: Arc<str>,
    /// The generation.
    pub generation: u64,
    /// The engine that runs its code.
    pub engine: EngineKind,
    /// What was found.
    pub comparison: Comparison,
}

/// What the comparison of an image with its artifact found.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Comparison {
    /// All read-only parts were compared.
    Compared(ComparedParts),
    /// The engine maps nothing into this process that could be compared: the plugin is linked into the program, or runs in a sandbox or in another
    /// process.
    NotApplicable,
    /// The image, or its host, ended before the comparison did.
    Ended,
    /// The image was not compared, for this reason.
    Failed(String),
}

/// The read-only parts of an image, compared with its artifact.
///
/// ```
/// # use reslot_report as reslot;
/// # use reslot_artifact::ImagePart;
/// use reslot::ComparedParts;
/// use std::time::Duration;
///
/// let mut compared = ComparedParts::new(Duration::from_micros(90));
/// compared.parts.push((ImagePart::Code, 300_000));
/// assert_eq!((compared.bytes(), compared.differences.len()), (300_000, 0));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ComparedParts {
    /// How many bytes of which part were compared.
    pub parts: Vec<(ImagePart, usize)>,
    /// Of these, bytes that the loader bound to other libraries, such as addresses of libc's functions. They were compared with what they
    /// were at the image's first comparison, because the artifact does not contain them.
    pub bound_bytes: usize,
    /// How long it took. The comparison goes on while a processor is idle, so this is long on a busy machine.
    pub took: Duration,
    /// What differs, by address; [`MOST_DIFFERENCES`](Self::MOST_DIFFERENCES) at most.
    pub differences: Vec<ImageDifference>,
    /// How many further differences there are. Those of a block count as one if no intact bytes tell them apart.
    pub more: usize,
}

impl ComparedParts {
    /// The most differences that are listed.
    pub const MOST_DIFFERENCES: usize = 16;

    /// A comparison that took this long and has compared nothing yet.
    #[must_use]
    pub fn new(took: Duration) -> Self {
        Self { took, ..Self::default() }
    }

    /// How many bytes were compared.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.parts.iter().map(|(_, bytes)| bytes).sum()
    }
}

impl ImageReport {
    /// A report on the image of a generation.
    #[must_use]
    pub fn new(slot: Arc<str>, generation: u64, engine: EngineKind, comparison: Comparison) -> Self {
        Self {
            slot,
            generation,
            engine,
            comparison,
        }
    }

    /// What differs; empty if nothing does, or if nothing could be compared.
    #[must_use]
    pub fn differences(&self) -> &[ImageDifference] {
        match &self.comparison {
            Comparison::Compared(compared) => &compared.differences,
            _ => &[],
        }
    }

    /// How many differences there are, including those that are not listed.
    #[must_use]
    pub fn difference_count(&self) -> usize {
        match &self.comparison {
            Comparison::Compared(compared) => compared.differences.len() + compared.more,
            _ => 0,
        }
    }

    /// Whether the image differs from its artifact.
    #[must_use]
    pub fn is_damaged(&self) -> bool {
        !self.differences().is_empty()
    }
}

impl fmt::Display for ImageReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, generation {}: ", self.slot, self.generation)?;
        match &self.comparison {
            Comparison::Compared(compared) => {
                match &*compared.differences {
                    [] => write!(f, "as its artifact; ")?,
                    [first, others @ ..] => {
                        write!(f, "DAMAGED at {first}")?;
                        match others.len() + compared.more {
                            0 => write!(f, "; ")?,
                            more => write!(f, " and {more} more; ")?,
                        }
                    }
                }
                let parts = compared.parts.iter().map(|(part, bytes)| format!("{} {bytes}", part.name()));
                let parts = parts.collect::<Vec<_>>().join(", ");
                write!(f, "compared {} bytes ({parts}) in {:.1?}", compared.bytes(), compared.took)
            }
            Comparison::NotApplicable => {
                write!(f, "not mapped from a file into this process, so there is no image to compare")
            }
            Comparison::Ended => write!(f, "ended before it was compared"),
            Comparison::Failed(why) => write!(f, "not compared: {why}"),
        }
    }
}
