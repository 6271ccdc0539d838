//! The plots of the page: bars with their quarters, or curves where rows have a place on an axis.

use crate::{Row, pages::number};
use plotters::prelude::*;
use std::{collections::BTreeMap, ops::Range};

const WIDTH: u32 = 1000;
const BAR: u32 = 26;
const OURS: RGBColor = RGBColor(31, 119, 180);

/// As SVG; says what went wrong where there is nothing to draw.
pub(crate) fn plot(rows: &[Row]) -> String {
    let mut svg = String::new();
    let drawn = if rows.iter().all(|row| row.at.is_some()) {
        curves(&mut svg, rows)
    } else {
        bars(&mut svg, rows)
    };
    match drawn {
        Ok(()) => svg,
        Err(error) => format!("<p>(no plot: {error})</p>"),
    }
}

type Drawn = Result<(), Box<dyn std::error::Error>>;

/// The figure that is drawn: the ratio, where there is one.
fn figure(row: &Row) -> f64 {
    row.ratio.unwrap_or(row.value)
}

/// A range for logarithms that shows all figures.
fn range(figures: impl Iterator<Item = f64>) -> Option<Range<f64>> {
    let known = figures.filter(|figure| figure.is_finite() && *figure > 0.0);
    let (low, high) = known.fold((f64::MAX, 0.0_f64), |(low, high), figure| (low.min(figure), high.max(figure)));
    (high > 0.0).then_some(low * 0.7..high * 1.5)
}

fn bars(svg: &mut String, rows: &[Row]) -> Drawn {
    let ends = rows.iter().flat_map(|row| {
        let (low, high) = row.spread.unwrap_or((figure(row), figure(row)));
        [figure(row), low, high]
    });
    let range = range(ends).ok_or("no figure above zero")?;
    let count = u32::try_from(rows.len())?;
    let root = SVGBackend::with_string(svg, (WIDTH, count * BAR + 50)).into_drawing_area();
    let mut chart = ChartBuilder::on(&root)
        .margin(5)
        .x_label_area_size(30)
        .y_label_area_size(380)
        .build_cartesian_2d(range.clone().log_scale(), 0.0..f64::from(count))?;
    let names: Vec<&str> = rows.iter().rev().map(|row| row.name.as_str()).collect();
    chart
        .configure_mesh()
        .disable_y_mesh()
        .disable_y_axis()
        .y_labels(0)
        .x_label_formatter(&|value| number(*value))
        .draw()?;
    for (at, row) in rows.iter().rev().enumerate() {
        let (low, high) = (at as f64 + 0.2, at as f64 + 0.8);
        let middle = at as f64 + 0.5;
        let colour = if row.held() == Some(false) {
            RED.mix(0.7)
        } else {
            OURS.mix(0.8)
        };
        chart.draw_series([Rectangle::new(
            [(range.start, low), (figure(row).max(range.start), high)],
            colour.filled(),
        )])?;
        if let Some((from, to)) = row.spread {
            chart.draw_series([PathElement::new(vec![(from.max(range.start), middle), (to, middle)], BLACK)])?;
        }
        if let Some(limit) = row.limit {
            chart.draw_series([PathElement::new(
                vec![(limit, low - 0.15), (limit, high + 0.15)],
                RED.stroke_width(2),
            )])?;
        }
        let text = format!("{} {}", names[at], number(figure(row)));
        let from_top = 5 + BAR * u32::try_from(rows.len() - 1 - at)? + BAR / 2;
        let style = TextStyle::from(("sans-serif", 14).into_font()).pos(plotters::style::text_anchor::Pos::new(
            plotters::style::text_anchor::HPos::Right,
            plotters::style::text_anchor::VPos::Center,
        ));
        root.draw(&Text::new(text, (378, i32::try_from(from_top)?), style))?;
    }
    root.present()?;
    Ok(())
}

/// Rows that bear the same name, and the same unit, are one curve.
fn curves(svg: &mut String, rows: &[Row]) -> Drawn {
    let places = range(rows.iter().filter_map(|row| row.at)).ok_or("no place above zero")?;
    let figures = range(rows.iter().map(|row| row.value)).ok_or("no figure above zero")?;
    let mut lines: BTreeMap<&str, Vec<(f64, f64)>> = BTreeMap::new();
    for row in rows {
        // What stands behind these says which point it is.
        let name = row.name.split([':', ',']).next().unwrap_or_default();
        lines.entry(name).or_default().push((row.at.unwrap_or(1.0), row.value));
    }
    let root = SVGBackend::with_string(svg, (WIDTH, 380)).into_drawing_area();
    let mut chart = ChartBuilder::on(&root)
        .margin(10)
        .x_label_area_size(30)
        .y_label_area_size(70)
        .build_cartesian_2d(places.log_scale(), figures.log_scale())?;
    chart
        .configure_mesh()
        .x_label_formatter(&|value| number(*value))
        .y_label_formatter(&|value| number(*value))
        .y_desc(rows.first().map_or("", |row| row.unit.as_str()))
        .draw()?;
    for (at, (name, line)) in lines.into_iter().enumerate() {
        let colour = Palette99::pick(at).to_rgba();
        chart
            .draw_series(LineSeries::new(line.clone(), colour.stroke_width(2)))?
            .label(name)
            .legend(move |(x, y)| PathElement::new(vec![(x, y), (x + 18, y)], colour.stroke_width(2)));
        chart.draw_series(line.into_iter().map(|point| Circle::new(point, 3, colour.filled())))?;
    }
    chart
        .configure_series_labels()
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK)
        .draw()?;
    root.present()?;
    Ok(())
}
