//! What all pictures share: drawing into memory, axes, legends, colours.

use std::error::Error;
use std::io;
use std::ops::Range;

use plotters::coord::Shift;
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{FontStyle, register_font};

/// A PNG and its size in pixels.
#[derive(Clone, Debug)]
pub struct Picture {
    pub width: u32,
    pub height: u32,
    pub png: Vec<u8>,
}

pub type Area<'a> = DrawingArea<BitMapBackend<'a>, Shift>;
pub type Chart<'a, 'b> = ChartContext<'a, BitMapBackend<'b>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;
pub type Drawn<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;

pub const REAL: RGBColor = RGBColor(31, 105, 180);
pub const MADE: RGBColor = RGBColor(34, 145, 60);
pub const REBUILT: RGBColor = RGBColor(205, 45, 45);
pub const OTHER: RGBColor = RGBColor(150, 95, 170);
pub const INK: RGBColor = RGBColor(45, 45, 45);
pub const FRAME: RGBColor = RGBColor(170, 170, 170);
const GRID: RGBColor = RGBColor(228, 228, 228);

/// Everything is drawn at twice the size and then halved, since plotters smooths thin lines only. Lengths in this
/// module are those of the large picture.
const FINE: u32 = 2;
pub const SMALL: i32 = 21;
pub const TEXT: i32 = 24;
pub const TITLE: i32 = 32;
pub const LINE: u32 = 4;

const FONT: &str = "report";

/// A picture of width x height that `paint` fills; it gets twice as many pixels each way.
pub fn draw(width: u32, height: u32, paint: impl FnOnce(&Area) -> Drawn) -> io::Result<Picture> {
    register_font(FONT, FontStyle::Normal, dejavu::sans::regular())
        .map_err(|_| io::Error::other("the font that comes with the program cannot be read"))?;
    let mut fine = vec![255; (width * FINE * height * FINE * 3) as usize];
    {
        let area = BitMapBackend::with_buffer(&mut fine, (width * FINE, height * FINE)).into_drawing_area();
        area.fill(&WHITE).map_err(io::Error::other)?;
        paint(&area).map_err(io::Error::other)?;
        area.present().map_err(io::Error::other)?;
    }
    let mut png = Vec::new();
    let mut encoder = png::Encoder::new(&mut png, width, height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.write_header()?.write_image_data(&halved(&fine, width as usize, height as usize))?;
    Ok(Picture { width, height, png })
}

/// Means of 2 x 2 pixels.
fn halved(fine: &[u8], width: usize, height: usize) -> Vec<u8> {
    let row = width * 2 * 3;
    let mut out = Vec::with_capacity(width * height * 3);
    for (y, x, channel) in
        (0..height).flat_map(|y| (0..width).flat_map(move |x| (0..3).map(move |channel| (y, x, channel))))
    {
        let at = 2 * y * row + 6 * x + channel;
        let sum: u32 = [at, at + 3, at + row, at + row + 3].iter().map(|&i| u32::from(fine[i])).sum();
        out.push((sum / 4) as u8);
    }
    out
}

pub fn font(size: i32) -> TextStyle<'static> {
    TextStyle::from((FONT, size).into_font()).color(&INK)
}

pub fn text(area: &Area, words: &str, size: i32, at: (i32, i32), anchor: HPos) -> Drawn {
    Ok(area.draw_text(words, &font(size).pos(Pos::new(anchor, VPos::Center)), at)?)
}

/// What stands around a chart.
#[derive(Clone, Debug)]
pub struct Axes<'a> {
    pub title: &'a str,
    pub x: Range<f64>,
    /// From bottom to top.
    pub y: Range<f64>,
    pub names: [&'a str; 2],
}

const LEFT: u32 = 96;
/// Beside the name of the y axis, which would be cut off.
const EDGE: u32 = 16;
const BELOW: u32 = 72;
const ABOVE: u32 = 52;
const RIGHT: u32 = 26;

/// Pixels that a chart has inside its axes.
pub fn inside(area: &Area) -> (u32, u32) {
    let (width, height) = area.dim_in_pixel();
    (width.saturating_sub(EDGE + LEFT + RIGHT), height.saturating_sub(ABOVE + BELOW))
}

pub fn chart<'a, 'b>(area: &'a Area<'b>, axes: &Axes) -> Drawn<Chart<'a, 'b>> {
    let (width, _) = area.dim_in_pixel();
    text(area, axes.title, TEXT, ((width + EDGE + LEFT - RIGHT) as i32 / 2, ABOVE as i32 / 2 + 2), HPos::Center)?;
    let mut builder = ChartBuilder::on(area);
    builder.margin_top(ABOVE).margin_right(RIGHT).margin_left(EDGE).x_label_area_size(BELOW).y_label_area_size(LEFT);
    let mut chart = builder.build_cartesian_2d(axes.x.clone(), axes.y.clone())?;
    let [x_step, y_step] = [&axes.x, &axes.y].map(|range| (range.end - range.start).abs() / 6.0);
    let (x_label, y_label) = (|v: &f64| number(*v, x_step), |v: &f64| number(*v, y_step));
    let mut mesh = chart.configure_mesh();
    mesh.x_desc(axes.names[0]).y_desc(axes.names[1]).axis_desc_style(font(SMALL)).label_style(font(SMALL));
    mesh.x_labels(6).y_labels(6).max_light_lines(0).bold_line_style(GRID).axis_style(FRAME);
    if axes.names[0].is_empty() {
        mesh.disable_x_mesh().x_labels(0);
    }
    mesh.x_label_formatter(&x_label).y_label_formatter(&y_label).draw()?;
    Ok(chart)
}

/// As many digits as ticks so far apart need.
fn number(v: f64, step: f64) -> String {
    let digits = (-step.log10()).ceil().clamp(0.0, 6.0) as usize;
    let v = if v.abs() < step * 1e-6 { 0.0 } else { v };
    format!("{v:.digits$}")
}

/// The range of the numbers with some room; of a single one, around it.
pub fn range(numbers: impl Iterator<Item = f64>) -> Range<f64> {
    let finite = numbers.filter(|v| v.is_finite());
    let (low, high) = finite.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
    if low > high {
        return 0.0..1.0;
    }
    let room = if high > low { 0.06 * (high - low) } else { low.abs().max(1.0) * 0.5 };
    low - room..high + room
}

/// Coloured lines with their names, in a row from `at` to the right.
pub fn legend(area: &Area, entries: &[(&str, RGBColor)], at: (i32, i32)) -> Drawn {
    let (mut x, y) = at;
    for (name, color) in entries {
        area.draw(&PathElement::new(vec![(x, y), (x + 44, y)], color.stroke_width(2 * LINE)))?;
        text(area, name, TEXT, (x + 58, y + 2), HPos::Left)?;
        x += 58 + font(TEXT).font.layout_box(name).map_or(0, |((left, _), (right, _))| right - left) + 50;
    }
    Ok(())
}

/// Piece by piece: the joints of plotters' own lines are ragged where the way turns back.
pub fn line(chart: &mut Chart, points: &[[f64; 2]], style: impl Into<ShapeStyle>) -> Drawn {
    let style = style.into();
    let finite: Vec<(f64, f64)> =
        points.iter().filter(|p| p.iter().all(|v| v.is_finite())).map(|p| (p[0], p[1])).collect();
    chart.draw_series(finite.windows(2).map(|pair| PathElement::new(pair, style)))?;
    Ok(())
}

pub fn dots(chart: &mut Chart, points: &[[f64; 2]], radius: i32, style: impl Into<ShapeStyle>) -> Drawn {
    let style = style.into();
    chart.draw_series(points.iter().map(|p| Circle::new((p[0], p[1]), radius, style)))?;
    Ok(())
}
