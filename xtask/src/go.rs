//! Figures about Go's `plugin` package: those that `cargo xtask compare go` measured on this machine, or else recorded ones.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::Error;

/// What a Go host does with a replaced plugin file, and what each version costs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GoFigures {
    /// Whether it was measured on this machine. Otherwise it was recorded on the one that `source` names.
    pub measured: bool,
    /// The day of the measurement.
    pub date: String,
    /// Where and with what it was measured.
    pub source: String,
    /// What `go version` says.
    pub go_version: String,
    /// Which code runs after the file at the same path was replaced and opened again: `old code` or `new code`.
    pub same_path_answer: String,
    /// The result of opening the new build under another name: its answer, or Go's error.
    pub other_path_answer: String,
    /// How many versions were loaded for the two figures below.
    pub versions: u32,
    /// Lines of `/proc/self/maps` that each further version adds permanently.
    pub mappings_per_version: f64,
    /// Resident memory that each further version adds permanently.
    pub mib_per_version: f64,
    /// Whether there is any way to unload a plugin.
    pub unloadable: bool,
}

impl GoFigures {
    /// The file with the measured figures.
    pub fn file(target: &Path) -> PathBuf {
        target.join("reslot").join("compare-go.json")
    }

    /// The figures measured on this machine, or the recorded ones.
    pub fn known(target: &Path) -> GoFigures {
        let measured = fs::read(GoFigures::file(target))
            .ok()
            .and_then(|text| serde_json::from_slice(&text).ok());
        measured.unwrap_or_else(GoFigures::recorded)
    }

    /// The figures in `xtask/data/go-recorded.json`.
    pub fn recorded() -> GoFigures {
        serde_json::from_str(include_str!("../data/go-recorded.json")).expect("held by the test below")
    }

    /// Keeps the figures for [`known`](GoFigures::known).
    pub fn save(&self, target: &Path) -> Result<PathBuf, Error> {
        let file = GoFigures::file(target);
        let folder = file.parent().unwrap_or(target);
        fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
        let mut text = serde_json::to_string_pretty(self).expect("plain data");
        text.push('\n');
        fs::write(&file, text).map_err(Error::io("write", &file))?;
        Ok(file)
    }

    /// The figures as lines of text.
    pub fn in_words(&self) -> Vec<String> {
        vec![
            format!(
                "{} on {}: {} ({})",
                if self.measured { "measured" } else { "recorded" },
                self.date,
                self.go_version,
                self.source
            ),
            format!(
                "file replaced at the same path, plugin.Open again: the {} runs, without an error",
                self.same_path_answer
            ),
            format!("the new build under another name: {}", self.other_path_answer),
            format!(
                "each further version keeps {:+.0} mappings and {:+.2} MiB permanently (mean over {} versions, without the \
                     first one)",
                self.mappings_per_version, self.mib_per_version, self.versions
            ),
            format!("a plugin {} be unloaded", if self.unloadable { "can" } else { "cannot" }),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_recorded_figures_are_readable_and_say_that_they_are_recorded() {
        let recorded = GoFigures::recorded();
        assert!(!recorded.measured);
        assert!(
            recorded.in_words()[0].starts_with("recorded on "),
            "{:?}",
            recorded.in_words()
        );
    }

    #[test]
    fn measured_figures_go_before_recorded_ones() {
        let target = tempfile::tempdir().expect("a scratch folder");
        assert_eq!(GoFigures::known(target.path()), GoFigures::recorded());
        let measured = GoFigures {
            measured: true,
            ..GoFigures::recorded()
        };
        measured.save(target.path()).expect("written");
        assert_eq!(GoFigures::known(target.path()), measured);
    }
}
