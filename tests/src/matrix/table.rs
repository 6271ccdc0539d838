//! A matrix for a terminal: aligned, with a mark at each broken promise, and the host's events about these.

use super::{Column, Matrix, run::Cell};
use std::fmt::{Display, Formatter, Result};

impl Matrix {
    /// The number of tested cells.
    pub fn tried(&self) -> usize {
        self.cells.iter().filter(|cell| cell.found.is_some()).count()
    }

    /// The cells with broken promises, and those that only the documentation or only the program has.
    pub fn broken(&self) -> Vec<&Cell> {
        self.cells.iter().filter(|cell| !cell.is_kept()).collect()
    }
}

fn shown(cell: &Cell) -> String {
    match (&cell.found, &cell.promised) {
        (Some(found), _) if cell.is_kept() => found.clone(),
        // The rest is printed below the table.
        (Some(found), _) => format!("!! {}", found.split(", but").next().unwrap_or_default()),
        (None, Some(_)) => "!! not tried".to_owned(),
        (None, None) => "–".to_owned(),
    }
}

impl Display for Matrix {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let rows: Vec<_> = self.cells.chunks(Column::ALL.len()).collect();
        let mut lines = vec![vec![String::new()]];
        lines[0].extend(Column::ALL.map(|column| column.name().to_owned()));
        lines.extend(rows.iter().map(|row| {
            let words = row.iter().map(shown);
            std::iter::once(row[0].row.clone()).chain(words).collect()
        }));
        let width = |at: usize| lines.iter().map(|line| line[at].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..=Column::ALL.len()).map(width).collect();
        for line in &lines {
            let padded = line.iter().zip(&widths).map(|(word, width)| format!("{word:<width$}"));
            writeln!(f, "{}", padded.collect::<Vec<_>>().join("  ").trim_end())?;
        }
        for cell in self.broken() {
            let or_nothing = |word: &Option<String>| word.clone().unwrap_or_else(|| "nothing".to_owned());
            let (promised, found) = (or_nothing(&cell.promised), or_nothing(&cell.found));
            let column = cell.column.name();
            writeln!(f, "\n!! {}, {column}: promised {promised:?}, found {found:?}", cell.row)?;
            for line in cell.detail.lines() {
                writeln!(f, "     {line}")?;
            }
        }
        Ok(())
    }
}
