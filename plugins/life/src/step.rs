//! Computes the next generation: a cell lives if it has three living neighbours, or if it lives and has two.

use arcade_interfaces::Cell;

/// The next generation. Both are sorted by row and then by column.
pub fn next(cells: &[Cell]) -> Vec<Cell> {
    let alive: Vec<u64> = cells.iter().map(place).collect();
    let mut told: Vec<u64> = cells.iter().flat_map(neighbours).collect();
    told.sort_unstable();
    let heard = told.chunk_by(|a, b| a == b);
    let lives = heard.filter(|heard| heard.len() == 3 || heard.len() == 2 && alive.binary_search(&heard[0]).is_ok());
    lives.map(|heard| cell(heard[0])).collect()
}

fn neighbours(cell: &Cell) -> impl Iterator<Item = u64> {
    let &Cell { y, x } = cell;
    let around = (-1..=1).flat_map(|down| (-1..=1).map(move |right| (down, right)));
    let others = around.filter(|&around| around != (0, 0));
    others.map(move |(down, right)| {
        place(&Cell {
            y: y.wrapping_add(down),
            x: x.wrapping_add(right),
        })
    })
}

/// Numbers in the order of the cells.
fn place(cell: &Cell) -> u64 {
    u64::from(cell.y.cast_unsigned() ^ 1 << 31) << 32 | u64::from(cell.x.cast_unsigned() ^ 1 << 31)
}

fn cell(place: u64) -> Cell {
    let half = |bits: u64| ((bits as u32) ^ 1 << 31).cast_signed();
    Cell {
        y: half(place >> 32),
        x: half(place),
    }
}
