//! The world: all things, numbers and cells, by name. It outlives the rules.

use arcade_interfaces::{Cell, Kind, Size, Thing, World};
use std::{collections::BTreeMap, sync::Arc};
use xxhash_rust::xxh3::xxh3_64;

/// How large the visible part of every world is.
pub const SIZE: Size = Size {
    width: 80.0,
    height: 34.0,
};

/// The world of a game. A copy of it is cheap enough to be made in each tick.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Table {
    ticks: u64,
    pub(crate) things: BTreeMap<Arc<str>, Thing>,
    pub(crate) numbers: BTreeMap<Arc<str>, i64>,
    cells: Arc<Vec<Cell>>,
}

impl Table {
    /// A world in which these cells live.
    pub fn of_cells(mut cells: Vec<Cell>) -> Self {
        cells.sort_unstable_by_key(|cell| (cell.y, cell.x));
        Self {
            cells: Arc::new(cells),
            ..Self::default()
        }
    }

    /// The next tick begins.
    pub fn advance(&mut self) {
        self.ticks += 1;
    }

    /// The cells that live.
    pub fn living(&self) -> &[Cell] {
        &self.cells
    }

    /// How much there is that other rules find as it was.
    pub fn contents(&self) -> usize {
        self.things.len() + self.numbers.len() + self.cells.len()
    }

    /// A number for all of it: equal worlds have equal ones, to the last bit of each thing, which is how `Debug` prints them.
    pub fn hash(&self) -> u64 {
        xxh3_64(format!("{self:?}").as_bytes())
    }

    /// Where the balls are.
    pub fn balls(&self) -> impl Iterator<Item = (f32, f32)> {
        let balls = self.things.values().filter(|thing| thing.kind == Kind::Ball);
        balls.map(|ball| (ball.x, ball.y))
    }
}

impl World for Table {
    fn ticks(&self) -> u64 {
        self.ticks
    }

    fn size(&self) -> Size {
        SIZE
    }

    fn thing(&self, name: &str) -> Option<Thing> {
        self.things.get(name).copied()
    }

    fn put(&mut self, name: &str, thing: Thing) {
        self.things.insert(name.into(), thing);
    }

    fn remove(&mut self, name: &str) {
        self.things.remove(name);
    }

    fn number(&self, name: &str) -> i64 {
        self.numbers.get(name).copied().unwrap_or(0)
    }

    fn set_number(&mut self, name: &str, value: i64) {
        self.numbers.insert(name.into(), value);
    }

    fn cells(&self) -> Vec<Cell> {
        self.cells.to_vec()
    }

    fn set_cells(&mut self, cells: &[Cell]) {
        self.cells = Arc::new(cells.to_vec());
    }
}
