//! The rows of a run, and where they go: the terminal, and `report.json`, `report.html` and `report.md` under
//! `target/bench`. A run replaces the rows of its own group there and leaves the others as they are; each row says when it was
//! measured.

use crate::{Samples, machine, only_a_test, pages};
use anyhow::Context;
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// One figure.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Row {
    /// Of which benchmark.
    pub group: String,
    /// Rows with the same heading stand together, in one table and one plot.
    #[serde(default)]
    pub heading: String,
    /// What was measured.
    pub name: String,
    /// The median of the rounds, in `unit`.
    pub value: f64,
    /// Of `value`.
    pub unit: String,
    /// The median of the rounds' own ratios to what `against` names.
    pub ratio: Option<f64>,
    /// The name of another row.
    pub against: Option<String>,
    /// The quarters of the ratios; of the values, where there is no ratio.
    pub spread: Option<(f64, f64)>,
    /// The promise: the ratio, or the value where there is no ratio, is at most this.
    #[serde(default)]
    pub limit: Option<f64>,
    /// Where on the plot's horizontal axis it belongs, if it is one of a curve.
    #[serde(default)]
    pub at: Option<f64>,
    /// Whether README quotes it.
    #[serde(default)]
    pub quoted: bool,
    /// What a reader must know besides.
    #[serde(default)]
    pub note: Option<String>,
    /// The day.
    #[serde(default)]
    pub measured: String,
}

impl Row {
    /// The median of the samples.
    #[must_use]
    pub fn new(name: impl Into<String>, samples: &Samples, unit: &str) -> Self {
        Self {
            spread: (samples.len() > 1).then(|| samples.quarters()),
            ..Self::single(name, samples.median(), unit)
        }
    }

    /// A figure that was taken once, or is exact.
    #[must_use]
    pub fn single(name: impl Into<String>, value: f64, unit: &str) -> Self {
        Self {
            group: String::new(),
            heading: String::new(),
            name: name.into(),
            value,
            unit: unit.to_owned(),
            ratio: None,
            against: None,
            spread: None,
            limit: None,
            at: None,
            quoted: false,
            note: None,
            measured: String::new(),
        }
    }

    /// As ratios, given round by round, to the row of that name.
    #[must_use]
    pub fn against(mut self, name: &str, ratios: &Samples) -> Self {
        self.ratio = Some(ratios.median());
        self.spread = (ratios.len() > 1).then(|| ratios.quarters());
        self.against = Some(name.to_owned());
        self
    }

    /// The promise that it has to hold.
    #[must_use]
    pub fn at_most(mut self, limit: f64) -> Self {
        self.limit = Some(limit);
        self
    }

    /// Its place on a curve.
    #[must_use]
    pub fn at(mut self, place: f64) -> Self {
        self.at = Some(place);
        self
    }

    /// README quotes it.
    #[must_use]
    pub fn quoted(mut self) -> Self {
        self.quoted = true;
        self
    }

    /// What a reader must know besides.
    #[must_use]
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.note = Some(note.into());
        self
    }

    /// Whether the promise was held; `None` without one.
    #[must_use]
    pub fn held(&self) -> Option<bool> {
        self.limit.map(|limit| self.ratio.unwrap_or(self.value) <= limit)
    }
}

/// The rows of one group, as a run comes to them.
pub struct Report {
    group: &'static str,
    heading: String,
    today: String,
    rows: Vec<Row>,
}

impl Report {
    /// Of the group of that name.
    #[must_use]
    pub fn new(group: &'static str) -> Self {
        Self {
            group,
            heading: String::new(),
            today: machine::today(),
            rows: Vec::new(),
        }
    }

    /// Under which the next rows stand; also the title of their plot. Printed at once.
    pub fn heading(&mut self, heading: impl Into<String>) {
        self.heading = heading.into();
        anstream::println!("\n{}\n{}", self.heading, pages::COLUMNS);
    }

    /// Takes a row and prints it.
    pub fn row(&mut self, mut row: Row) {
        row.group = self.group.to_owned();
        row.heading.clone_from(&self.heading);
        row.measured.clone_from(&self.today);
        anstream::println!("{}", pages::line(&row));
        self.rows.push(row);
    }

    /// Writes the files, unless it was only a test.
    ///
    /// # Errors
    ///
    /// When `target/bench` cannot be written to.
    pub fn finish(self) -> anyhow::Result<()> {
        if only_a_test() {
            return Ok(());
        }
        let folder = folder();
        write(&folder, self.group, self.rows)?;
        anstream::println!("\nwritten to {}", folder.join("report.{json,html,md}").display());
        Ok(())
    }
}

/// `target/bench` of this repository.
fn folder() -> PathBuf {
    xtask::Workspace::read(Path::new(env!("CARGO_MANIFEST_DIR")))
        .map_or_else(|_| PathBuf::from("target"), |workspace| workspace.target)
        .join("bench")
}

fn write(folder: &Path, group: &str, rows: Vec<Row>) -> anyhow::Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let json = folder.join("report.json");
    // One that cannot be read is another version's: it is begun anew.
    let before: Vec<Row> = fs::read(&json)
        .ok()
        .and_then(|text| serde_json::from_slice(&text).ok())
        .unwrap_or_default();
    let mut all: Vec<Row> = before.into_iter().filter(|row| row.group != group).collect();
    all.extend(rows);
    let order: BTreeSet<&str> = all.iter().map(|row| row.group.as_str()).collect();
    let order: Vec<String> = pages::order(order);
    all.sort_by_key(|row| order.iter().position(|group| *group == row.group));
    for (name, text) in [
        ("report.json", serde_json::to_string_pretty(&all)?),
        ("report.html", pages::html(&all)),
        ("report.md", pages::markdown(&all)),
    ] {
        let path = folder.join(name);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(group: &str, name: &str, value: f64) -> Row {
        let mut row = Row::single(name, value, "ns").quoted().at_most(3.0);
        row.group = group.to_owned();
        row
    }

    #[test]
    fn a_run_replaces_its_own_group_and_leaves_the_others() {
        let folder = tempfile::tempdir().expect("a folder");
        let read = || -> Vec<(String, f64)> {
            let text = fs::read(folder.path().join("report.json")).expect("it was written");
            let rows: Vec<Row> = serde_json::from_slice(&text).expect("a list of rows");
            rows.into_iter().map(|row| (row.name, row.value)).collect()
        };
        write(folder.path(), "reload", vec![row("reload", "ours", 2.0)]).expect("writable");
        write(folder.path(), "call", vec![row("call", "bare", 1.0)]).expect("writable");
        write(folder.path(), "reload", vec![row("reload", "ours", 4.0)]).expect("writable");
        assert_eq!(read(), [("bare".to_owned(), 1.0), ("ours".to_owned(), 4.0)]);
        let page = fs::read_to_string(folder.path().join("report.md")).expect("it was written");
        assert!(page.contains("| ours |") && page.contains("not held"), "{page}");
        let page = fs::read_to_string(folder.path().join("report.html")).expect("it was written");
        assert!(page.contains("<svg") && page.contains("ours"), "a plot of it");
    }
}
