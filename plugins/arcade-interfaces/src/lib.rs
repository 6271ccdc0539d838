//! What a game lends to its rules, and what it asks of them. The world is the game's: rules come and go, things stay, each under
//! its name.
#![forbid(unsafe_code)]

use reslot_plugin_api::{Crossing, interface};

/// The rules of a game.
#[interface]
pub trait Rules {
    /// A sixtieth of a second. What the rules do to the world counts if they come back; a panic undoes it.
    fn tick(&mut self, world: &mut dyn World, input: Input);
    /// What is played, in a few words.
    fn title(&self) -> String;
}

/// The world, as the rules see it during a tick. The game implements it.
#[interface]
pub trait World {
    /// How many ticks there were before this one.
    fn ticks(&self) -> u64;
    /// How large the visible part is, from (0, 0).
    fn size(&self) -> Size;
    /// The thing of this name.
    fn thing(&self, name: &str) -> Option<Thing>;
    /// Makes a thing, or changes it.
    fn put(&mut self, name: &str, thing: Thing);
    /// Takes a thing away.
    fn remove(&mut self, name: &str);
    /// The number of this name; 0 if nobody has set it.
    fn number(&self, name: &str) -> i64;
    /// Sets a number, for instance a score.
    fn set_number(&mut self, name: &str, value: i64);
    /// The cells that live, by row and then by column.
    fn cells(&self) -> Vec<Cell>;
    /// Replaces them, in the same order.
    fn set_cells(&mut self, cells: &[Cell]);
}

/// What the player does in a tick.
#[derive(Crossing, Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
pub struct Input {
    /// To the left: -1, to the right: 1, else 0.
    pub steer: i32,
    /// Fires.
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
    /// What flies; it leaves a trail when the last seconds are played again.
    Ball,
    /// What is hit.
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

/// A cell that lives.
#[derive(Crossing, Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct Cell {
    /// Downwards. First, because cells are sorted by it.
    pub y: i32,
    /// To the right.
    pub x: i32,
}
