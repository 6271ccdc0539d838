//! Writes a terminal's picture as a PNG file: each character is eight pixels wide and sixteen high.

use anyhow::Context;
use font8x8::{BASIC_FONTS, LATIN_FONTS, UnicodeFonts};
use ratatui::{buffer::Buffer, style::Color};
use std::{fs::File, io::BufWriter, path::Path};

const WIDTH: usize = 8;
const HEIGHT: usize = 16;

/// Writes it.
///
/// # Errors
/// If the file cannot be written.
pub fn write(buffer: &Buffer, file: &Path) -> anyhow::Result<()> {
    let complain = || format!("cannot write {}", file.display());
    let (columns, rows) = (usize::from(buffer.area.width), usize::from(buffer.area.height));
    let mut pixels = Vec::with_capacity(columns * rows * WIDTH * HEIGHT * 3);
    for y in 0..rows * HEIGHT {
        for x in 0..columns * WIDTH {
            pixels.extend(pixel(
                &buffer.content[y / HEIGHT * columns + x / WIDTH],
                x % WIDTH,
                y % HEIGHT,
            ));
        }
    }
    let out = BufWriter::new(File::create(file).with_context(complain)?);
    let (width, height) = (u32::try_from(columns * WIDTH)?, u32::try_from(rows * HEIGHT)?);
    let mut encoder = png::Encoder::new(out, width, height);
    encoder.set_color(png::ColorType::Rgb);
    let mut writer = encoder.write_header().with_context(complain)?;
    writer.write_image_data(&pixels).with_context(complain)?;
    writer.finish().with_context(complain)
}

fn pixel(cell: &ratatui::buffer::Cell, x: usize, y: usize) -> [u8; 3] {
    let letter = cell.symbol().chars().next().unwrap_or(' ');
    let is_ink = match letter {
        '█' => true,
        '▀' => y < HEIGHT / 2,
        '▄' => y >= HEIGHT / 2,
        letter => {
            let glyph = BASIC_FONTS
                .get(letter)
                .or_else(|| LATIN_FONTS.get(letter))
                .unwrap_or_default();
            glyph[y / 2] >> x & 1 == 1
        }
    };
    match if is_ink { cell.fg } else { cell.bg } {
        Color::Rgb(red, green, blue) => [red, green, blue],
        Color::White => [255; 3],
        Color::Gray => [170; 3],
        Color::LightRed => [255, 110, 110],
        _ => [0; 3],
    }
}
