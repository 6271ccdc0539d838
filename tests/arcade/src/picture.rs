//! How the game looks, in a terminal or in a file: two pixels to a character, the strip below, the compiler's words above.

use crate::{
    game::Game,
    recording::Trail,
    strip::Strip,
    world::{SIZE, Table},
};
use arcade_interfaces::{Cell, Kind};
use ratatui::{
    buffer::Buffer,
    layout::{Constraint, Layout, Rect},
    style::{Color, Style},
    symbols::Marker,
    widgets::{
        Block, Clear, Paragraph, Widget, Wrap,
        canvas::{Canvas, Context, Points},
    },
};

/// How many lines the strip has.
const STRIP: u16 = 7;
const GROUND: Color = Color::Rgb(12, 14, 22);
/// The marks of the old rules' trail, of the new rules' trail, and of both. They differ in shape as well as in color.
const OLD: (&str, Color) = ("o", Color::Rgb(230, 120, 60));
const NEW: (&str, Color) = ("+", Color::Rgb(80, 220, 140));
const BOTH: (&str, Color) = ("*", Color::White);

/// Everything that the screen shows.
#[derive(Debug, Clone)]
pub struct Scene {
    /// The world.
    pub world: Table,
    /// The strip.
    pub strip: Strip,
    /// The replays of the last seconds, the old rules' first.
    pub trails: Option<[Trail; 2]>,
    /// The most urgent message, for instance that a call into the rules hangs.
    pub alarm: Option<String>,
    /// The keys, at the bottom.
    pub keys: Option<String>,
}

impl Scene {
    /// The scene of a game at this moment.
    pub fn of(game: &Game) -> Self {
        Self {
            world: game.world.clone(),
            strip: game.strip.clone(),
            trails: game.trails().cloned(),
            alarm: None,
            keys: None,
        }
    }
}

impl Widget for &Scene {
    fn render(self, area: Rect, buffer: &mut Buffer) {
        let keys = self.keys.as_deref().unwrap_or_default();
        let [play, strip] = Layout::vertical([Constraint::Fill(1), Constraint::Length(STRIP)]).areas(area);
        let [strip, last] = Layout::vertical([Constraint::Fill(1), Constraint::Length(lines(keys))]).areas(strip);
        self.play(play, buffer);
        let colour = match &self.strip.trouble {
            Some(_) => Color::LightRed,
            None => Color::Gray,
        };
        let style = Style::new().fg(colour).bg(Color::Rgb(30, 34, 48));
        let words = Paragraph::new(self.strip.lines().join("\n")).style(style);
        words.wrap(Wrap { trim: true }).render(strip, buffer);
        Paragraph::new(keys).style(style.fg(Color::White)).render(last, buffer);
        for (title, words) in [
            ("this build was refused by the compiler", &self.strip.not_built),
            ("", &self.alarm),
        ] {
            let Some(words) = words else { continue };
            let above = Rect {
                height: lines(words).saturating_add(2).min(play.height),
                ..play
            };
            Clear.render(above, buffer);
            let style = Style::new().fg(Color::White).bg(Color::Rgb(90, 20, 20));
            let words = Paragraph::new(words.as_str()).block(Block::bordered().title(title));
            words.style(style).render(above, buffer);
        }
    }
}

fn lines(words: &str) -> u16 {
    u16::try_from(words.lines().count()).unwrap_or(u16::MAX)
}

impl Scene {
    fn play(&self, area: Rect, buffer: &mut Buffer) {
        let (width, height) = (f32::from(area.width), f32::from(area.height) * 2.0);
        let scale = (width / SIZE.width).min(height / SIZE.height);
        // Downwards, as in the world.
        let canvas = Canvas::default()
            .marker(Marker::HalfBlock)
            .background_color(GROUND)
            .x_bounds([0.0, f64::from(width) - 1.0])
            .y_bounds([1.0 - f64::from(height), 0.0]);
        canvas.paint(|context| self.paint(context, scale, area)).render(area, buffer);
        for (trail, mark) in self.trails.iter().flat_map(|trails| trails.iter().zip([OLD, NEW])) {
            for (x, y) in &trail.balls {
                put(area, buffer, ((x * scale).round().into(), (y * scale).round().into()), mark);
            }
            for cell in &trail.cells {
                put(area, buffer, place(cell, area), mark);
            }
        }
        let style = Style::new().fg(Color::White).bg(GROUND);
        let numbers = self.world.numbers.iter().map(|(name, value)| format!("{name} {value}"));
        let mut words = numbers.collect::<Vec<_>>().join("  ");
        if let Some([old, _]) = &self.trails {
            let none = if *old == Trail::default() { " (none)" } else { "" };
            let ((old, _), (new, _), (both, _)) = (OLD, NEW, BOTH);
            words += &format!("\nthe last five seconds again: {old} old rules{none}, {new} new rules, {both} both");
        }
        for (row, words) in area.rows().zip(words.lines()) {
            buffer.set_stringn(row.x, row.y, words, row.width.into(), style);
        }
    }

    fn paint(&self, context: &mut Context<'_>, scale: f32, area: Rect) {
        for thing in self.world.things.values() {
            let colour = match thing.kind {
                Kind::Paddle => Color::Rgb(120, 180, 255),
                Kind::Ball => Color::Rgb(255, 240, 120),
                Kind::Brick => Color::Rgb(200, 80, 110),
            };
            // Even the smallest thing gets one pixel.
            let pixels = |from: f32, length: f32| {
                let first = (from * scale).round() as i32;
                first..(((from + length) * scale).round() as i32).max(first + 1)
            };
            let rows = pixels(thing.y, thing.height);
            let all = rows.flat_map(|y| pixels(thing.x, thing.width).map(move |x| (f64::from(x), -f64::from(y))));
            context.draw(&Points::new(&all.collect::<Vec<_>>(), colour));
        }
        let places = self.world.living().iter().map(|cell| place(cell, area));
        let cells: Vec<_> = places.map(|(x, y)| (x, -y)).collect();
        context.draw(&Points::new(&cells, Color::Rgb(140, 220, 160)));
    }
}

/// Where a cell is, in pixels: the middle of the visible world in the middle of the screen.
fn place(cell: &Cell, area: Rect) -> (f64, f64) {
    let left = (f64::from(area.width) - f64::from(SIZE.width)) / 2.0;
    let top = f64::from(area.height) - f64::from(SIZE.height) / 2.0;
    (f64::from(cell.x) + left.trunc(), f64::from(cell.y) + top.trunc())
}

/// A character in place of two pixels.
fn put(area: Rect, buffer: &mut Buffer, (x, y): (f64, f64), mark: (&str, Color)) {
    if !(0.0..f64::from(area.width)).contains(&x) || !(0.0..f64::from(area.height) * 2.0).contains(&y) {
        return;
    }
    let cell = &mut buffer[(area.x + x as u16, area.y + y as u16 / 2)];
    let (symbol, colour) = match cell.symbol() {
        there if there == OLD.0 && mark != OLD || there == BOTH.0 => BOTH,
        _ => mark,
    };
    cell.set_symbol(symbol).set_fg(colour).set_bg(GROUND);
}
