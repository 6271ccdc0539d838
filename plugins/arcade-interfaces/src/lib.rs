//! The interface between a game and its rules. The world belongs to the game: things stay in it, each with a name, when the
//! rules are reloaded.
#![forbid(unsafe_code)]

use reslot_plugin_api::{Crossing, interface};

/// The rules of a game.
#[interface]
pub trait Rules {
    /// One tick, a sixtieth of a second. The changes to the world count only if the call returns; a panic undoes them.
    fn tick(&mut self, world: &mut dyn World, input: Input);
    /// The name of the game, in a few words.
    fn title(&self) -> String;
}

/// The world, as the rules see it during a tick. The game implements it.
#[interface]
pub trait World {
    /// How many ticks there were before this one.
    fn ticks(&self) -> u64;
    /// The size of the visible part, from (0, 0).
    fn size(&self) -> Size;
    /// The thing of this name.
    fn thing(&self, name: &str) -> Option<Thing>;
    /// Makes a thing, or changes it.
    fn put(&mut self, name: &str, thing: Thing);
    /// Removes a thing.
    fn remove(&mut self, name: &str);
    /// The number of this name; 0 if it was not set.
    fn number(&self, name: &str) -> i64;
    /// Sets a number, for instance a score.
    fn set_number(&mut self, name: &str, value: i64);
    /// The living cells, sorted by row and then by column.
    fn cells(&self) -> Vec<Cell>;
    /// Replaces the living cells, in the same order.
    fn set_cells(&mut self, cells: &[Cell]);
}

/// What the player does in a tick.
#[derive(Crossing, Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
pub struct Input {
    /// -1 to the left, 1 to the right, 0 otherwise.
    pub steer: i32,
    /// Whether the player fires.
    pub fire: bool,
}

/// Something in the world. Lengths are in pixels of a small screen, and speeds in pixels a tick.
#[derive(Crossing, Debug, Clone, Copy, PartialEq)]
#[repr(C)]
pub struct Thing {
    /// Its left edge.
    pub x: f32,
    /// Its upper edge.
    pub y: f32,
    /// Its width.
    pub width: f32,
    /// Its height.
    pub height: f32,
    /// Its speed to the right.
    pub dx: f32,
    /// Its speed downwards.
    pub dy: f32,
    /// What it is.
    pub kind: Kind,
}

/// What a thing is, which decides its colour.
#[derive(Crossing, Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// What the player moves.
    Paddle,
    /// The ball. It leaves a trail in a replay of the last seconds.
    Ball,
    /// A brick, which the ball hits.
    Brick,
}

/// The size of the visible world.
#[derive(Crossing, Debug, Clone, Copy, PartialEq)]
#[repr(C)]
pub struct Size {
    /// In pixels.
    pub width: f32,
    /// In pixels.
    pub height: f32,
}

/// A living cell.
#[derive(Crossing, Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct Cell {
    /// Downwards. First, because cells are sorted by it.
    pub y: i32,
    /// To the right.
    pub x: i32,
}
