//! Reads the promises in the table of docs/unloading.md.

use super::Column;

const DOCUMENTATION: &str = include_str!("../../../docs/unloading.md");

/// The content of a cell if the thread makes no difference.
const NO_DIFFERENCE: &str = "–";

/// The rows of the table: each behaviour, and its outcome on each kind of thread, in the order of [`Column::ALL`]; `None` where
/// the thread makes no difference. Backticks are left out.
///
/// # Panics
/// If there is no table that begins with the columns' names.
pub fn promised() -> Vec<(String, Vec<Option<String>>)> {
    let mut tables = DOCUMENTATION.lines().map(cells).skip_while(|cells| !is_head(cells));
    assert!(tables.next().is_some(), "docs/unloading.md has no table of outcomes");
    let rows = tables.skip(1).take_while(|cells| cells.len() == Column::ALL.len() + 1);
    let row = |mut cells: Vec<String>| {
        let outcomes = cells.split_off(1).into_iter();
        let outcomes = outcomes.map(|word| (word != NO_DIFFERENCE).then_some(word)).collect();
        (cells.remove(0), outcomes)
    };
    rows.map(row).collect()
}

fn is_head(cells: &[String]) -> bool {
    let names = Column::ALL.map(Column::name);
    cells.len() == names.len() + 1 && cells[1..].iter().zip(names).all(|(cell, name)| cell.as_str() == name)
}

fn cells(line: &str) -> Vec<String> {
    let inner = line.trim().strip_prefix('|').and_then(|line| line.strip_suffix('|'));
    let inner = inner.map(|inner| inner.split('|')).into_iter().flatten();
    inner.map(|cell| cell.trim().replace('`', "")).collect()
}
