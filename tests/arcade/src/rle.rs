//! Reads pattern files of Life in run-length encoding: `3o$b2o!`, after comments and a line with size and rule.

use crate::world::SIZE;
use anyhow::{Context, bail, ensure};
use arcade_interfaces::Cell;
use std::mem;

/// The longest run that is accepted: a short file must not fill the memory.
const LONGEST: i32 = 1 << 20;

/// The cells of a pattern, from (0, 0) on.
///
/// # Errors
/// If the text is not such a pattern, uses other rules than Life, or needs a bounded plane.
pub fn read(text: &str) -> anyhow::Result<Vec<Cell>> {
    let mut lines = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.starts_with('#') && !line.is_empty());
    let head = lines.next().context("the file is empty")?;
    let told: String = head.chars().filter(|letter| !letter.is_whitespace()).collect();
    ensure!(told.starts_with("x="), "the first line is {head:?}, and not `x = …, y = …`");
    if let Some((_, rule)) = told.split_once("rule=") {
        let is_life = ["B3/S23", "23/3", "LIFE"].contains(&rule.to_ascii_uppercase().as_str());
        ensure!(is_life, "the rule is {rule}, and these are the rules of Life, B3/S23");
    }
    let (mut cells, mut digits, mut y, mut x) = (Vec::new(), String::new(), 0_i32, 0_i32);
    for letter in lines.flat_map(str::chars).filter(|letter| !letter.is_whitespace()) {
        if letter.is_ascii_digit() {
            digits.push(letter);
            continue;
        }
        let run = match mem::take(&mut digits).as_str() {
            "" => 1,
            digits => digits
                .parse()
                .ok()
                .filter(|run| *run <= LONGEST)
                .context("a run is too long")?,
        };
        let after = |at: i32| at.checked_add(run).context("the pattern is too large");
        match letter {
            'b' | '.' => x = after(x)?,
            'o' | 'A' => {
                cells.extend((x..after(x)?).map(|x| Cell { y, x }));
                x = after(x)?;
            }
            '$' => (y, x) = (after(y)?, 0),
            '!' => return Ok(cells),
            other => bail!("{other:?} is no letter of this encoding"),
        }
    }
    bail!("the pattern does not end with `!`: the file is cut off")
}

/// The same pattern in the middle of the visible world.
pub fn centred(mut cells: Vec<Cell>) -> Vec<Cell> {
    let middle = |of: fn(&Cell) -> i32| {
        let (low, high) = (cells.iter().map(of).min(), cells.iter().map(of).max());
        low.unwrap_or(0).midpoint(high.unwrap_or(0))
    };
    let (x, y) = (middle(|cell| cell.x), middle(|cell| cell.y));
    for cell in &mut cells {
        // The plane has no edge.
        cell.x = cell.x.wrapping_sub(x).wrapping_add(SIZE.width as i32 / 2);
        cell.y = cell.y.wrapping_sub(y).wrapping_add(SIZE.height as i32 / 2);
    }
    cells
}
