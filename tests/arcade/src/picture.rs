//! How the game looks, in a terminal or in a file: pixels of half a character each, the strip below, the compiler's words above.

use crate::{
    recording::Trail,
    strip::Strip,
    world::{SIZE, Table},
};
use arcade_interfaces::Kind;
use ratatui::{
    buffer::Buffer,
    layout::Rect,
    style::{Color, Style},
    text::Line,
    widgets::{Block, Clear, Paragraph, Widget, Wrap},
};

/// How many lines the strip has.
const STRIP: u16 = 7;
const GROUND: Color = Color::Rgb(12, 14, 22);
/// How the trails of the old rules and of the new ones look, and where both were: told apart by their shape, too.
const OLD: (&str, Color) = ("o", Color::Rgb(230, 120, 60));
const NEW: (&str, Color) = ("+", Color::Rgb(80, 220, 140));
const BOTH: (&str, Color) = ("*", Color::White);

/// All that is to be seen.
pub struct Picture<'a> {
    /// The world.
    pub world: &'a Table,
    /// The strip.
    pub strip: &'a Strip,
    /// The replays of the last seconds, the old rules' first.
    pub trails: Option<&'a [Trail; 2]>,
    /// What is to be said above all, for instance that the rules have not come back.
    pub alarm: Option<&'a str>,
    /// What can be done, at the bottom.
    pub keys: Option<&'a str>,
}

impl Widget for Picture<'_> {
    fn render(self, area: Rect, buffer: &mut Buffer) {
        let strip = Rect {
            y: area.bottom().saturating_sub(STRIP),
            height: STRIP.min(area.height),
            ..area
        };
        let play = Rect {
            height: area.height - strip.height,
            ..area
        };
        self.play(play, buffer);
        let colour = if self.strip.trouble.is_some() {
            Color::LightRed
        } else {
            Color::Gray
        };
        let words = self.strip.lines().join("\n");
        let style = Style::new().fg(colour).bg(Color::Rgb(30, 34, 48));
        Paragraph::new(words)
            .wrap(Wrap { trim: true })
            .style(style)
            .render(strip, buffer);
        if let Some(keys) = self.keys {
            let height = u16::try_from(keys.lines().count()).unwrap_or(0).min(strip.height);
            let last = Rect {
                y: strip.bottom() - height,
                height,
                ..strip
            };
            Clear.render(last, buffer);
            Paragraph::new(keys).style(style.fg(Color::White)).render(last, buffer);
        }
        for (title, words) in [
            ("this build was refused by the compiler", self.strip.not_built.as_deref()),
            ("", self.alarm),
        ] {
            let Some(words) = words else { continue };
            let lines = u16::try_from(words.lines().count()).unwrap_or(u16::MAX);
            let above = Rect {
                height: lines.saturating_add(2).min(play.height),
                ..play
            };
            Clear.render(above, buffer);
            let frame = Block::bordered().title(title);
            let style = Style::new().fg(Color::White).bg(Color::Rgb(90, 20, 20));
            let lines: Vec<_> = words.lines().map(Line::raw).collect();
            Paragraph::new(lines).block(frame).style(style).render(above, buffer);
        }
    }
}

impl Picture<'_> {
    fn play(&self, area: Rect, buffer: &mut Buffer) {
        let mut pixels = Pixels::new(area, buffer);
        let scale = (pixels.width as f32 / SIZE.width).min(pixels.height as f32 / SIZE.height);
        for thing in self.world.things() {
            let colour = match thing.kind {
                Kind::Paddle => Color::Rgb(120, 180, 255),
                Kind::Ball => Color::Rgb(255, 240, 120),
                Kind::Brick => Color::Rgb(200, 80, 110),
            };
            let (left, top) = (thing.x * scale, thing.y * scale);
            let (right, bottom) = ((thing.x + thing.width) * scale, (thing.y + thing.height) * scale);
            for y in top.round() as i32..(bottom.round() as i32).max(top.round() as i32 + 1) {
                for x in left.round() as i32..(right.round() as i32).max(left.round() as i32 + 1) {
                    pixels.set(x, y, colour);
                }
            }
        }
        let (left, top) = (
            i64::from(pixels.width - SIZE.width as i32) / 2,
            i64::from(pixels.height - SIZE.height as i32) / 2,
        );
        for cell in self.world.living() {
            let (x, y) = (i64::from(cell.x) + left, i64::from(cell.y) + top);
            if let (Ok(x), Ok(y)) = (i32::try_from(x), i32::try_from(y)) {
                pixels.set(x, y, Color::Rgb(140, 220, 160));
            }
        }
        for (trail, mark) in self.trails.iter().flat_map(|trails| trails.iter().zip([OLD, NEW])) {
            for (x, y) in trail {
                pixels.mark((x * scale).round() as i32, (y * scale).round() as i32, mark);
            }
        }
        let numbers: Vec<_> = self.world.numbers().map(|(name, value)| format!("{name} {value}")).collect();
        buffer.set_stringn(
            area.x,
            area.y,
            numbers.join("  "),
            area.width.into(),
            Style::new().fg(Color::White).bg(GROUND),
        );
        if self.trails.is_some() {
            let legend = format!(
                "the last five seconds again: {} old rules, {} new rules, {} both",
                OLD.0, NEW.0, BOTH.0
            );
            let row = area.y + 1;
            if area.height > 1 {
                let style = Style::new().fg(Color::White).bg(GROUND);
                buffer.set_stringn(area.x, row, legend, area.width.into(), style);
            }
        }
    }
}

/// Two pixels to a character: the upper one in its colour, the lower one in its background.
struct Pixels<'a> {
    area: Rect,
    width: i32,
    height: i32,
    buffer: &'a mut Buffer,
}

impl<'a> Pixels<'a> {
    fn new(area: Rect, buffer: &'a mut Buffer) -> Self {
        for position in area.positions() {
            buffer[position].set_symbol(" ").set_fg(GROUND).set_bg(GROUND);
        }
        Self {
            area,
            width: area.width.into(),
            height: i32::from(area.height) * 2,
            buffer,
        }
    }

    fn set(&mut self, x: i32, y: i32, colour: Color) {
        if !(0..self.width).contains(&x) || !(0..self.height).contains(&y) {
            return;
        }
        let (column, row) = (self.area.x + x as u16, self.area.y + (y / 2) as u16);
        let cell = &mut self.buffer[(column, row)];
        let (upper, lower) = match cell.symbol() {
            "▀" => (cell.fg, cell.bg),
            "▄" => (cell.bg, cell.fg),
            _ => (GROUND, GROUND),
        };
        let (upper, lower) = if y % 2 == 0 { (colour, lower) } else { (upper, colour) };
        // Without colours, too, there is ink where something is.
        if upper == GROUND {
            cell.set_symbol("▄").set_fg(lower).set_bg(GROUND);
        } else {
            cell.set_symbol("▀").set_fg(upper).set_bg(lower);
        }
    }
}

impl Pixels<'_> {
    /// A character in place of two pixels.
    fn mark(&mut self, x: i32, y: i32, mark: (&str, Color)) {
        if !(0..self.width).contains(&x) || !(0..self.height).contains(&y) {
            return;
        }
        let cell = &mut self.buffer[(self.area.x + x as u16, self.area.y + (y / 2) as u16)];
        let (symbol, colour) = match cell.symbol() {
            " " | "▀" | "▄" => mark,
            there if there == mark.0 => mark,
            _ => BOTH,
        };
        cell.set_symbol(symbol).set_fg(colour).set_bg(GROUND);
    }
}

/// The characters of a picture, line by line.
pub fn text_of(buffer: &Buffer) -> String {
    let rows = buffer.area.rows();
    let row = |row: Rect| row.positions().map(|at| buffer[at].symbol().to_owned()).collect::<String>();
    rows.map(row).collect::<Vec<_>>().join("\n")
}
