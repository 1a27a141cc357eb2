//! Pictures: pairs of movements side by side, a sheet of movements, the losses of a training.

use std::io;
use std::ops::Range;

use plotters::prelude::*;
use plotters::style::text_anchor::HPos;

use super::canvas::{
    Area, Axes, Chart, Drawn, FRAME, INK, LINE, MADE, OTHER, Picture, REAL, REBUILT, SMALL, TEXT, TITLE, chart, dots,
    draw, inside, legend, line, range, text,
};
use super::tracks::Track;
use crate::config::DecoderKind;
use crate::data::FEATURES;
use crate::model::{Model, Record};

/// What a column of a picture of pairs shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Panel {
    /// The way in the plane: the same scale along both axes, y downwards.
    Path,
    Speed,
    Heading,
    /// Mean and standard deviation of each feature.
    Means,
    /// How far the features of the two are apart, over the share of the movement.
    Errors,
}

/// What stands against real movements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Against {
    Generated,
    Reconstructed,
}

impl Against {
    fn name(self) -> &'static str {
        match self {
            Against::Generated => "generated",
            Against::Reconstructed => "reconstructed",
        }
    }

    fn color(self) -> RGBColor {
        match self {
            Against::Generated => MADE,
            Against::Reconstructed => REBUILT,
        }
    }
}

/// Of the large picture, as all lengths here.
const HEAD: u32 = 130;

const CELL: (u32, u32) = (860, 640);

/// Real movements against others, a pair a row. `pixels`: whether the tracks are in pixels and milliseconds.
pub fn pairs(real: &[Track], other: &[Track], against: Against, panels: &[Panel], pixels: bool) -> io::Result<Picture> {
    let rows = real.len().min(other.len()).max(1) as u32;
    let columns = panels.len().max(1) as u32;
    draw(columns * CELL.0 / 2, (HEAD + rows * CELL.1) / 2, |area| {
        let (head, body) = area.split_vertically(HEAD);
        text(&head, &format!("Real against {}", against.name()), TITLE, (28, 42), HPos::Left)?;
        legend(&head, &[("real", REAL), (against.name(), against.color())], (28, 96))?;
        let note = "Each pair has its own scales. Ring: start, dark disc: end, dots: events.";
        text(&head, note, SMALL, ((columns * CELL.0) as i32 - 28, 98), HPos::Right)?;
        let cells = body.split_evenly((rows as usize, columns as usize));
        for (row, pair) in real.iter().zip(other).enumerate() {
            for (cell, panel) in cells[row * columns as usize..].iter().zip(panels) {
                let pair = Pair { real: pair.0, other: pair.1, color: against.color(), pixels };
                pair.panel(cell, *panel)?;
            }
        }
        Ok(())
    })
}

struct Pair<'a> {
    real: &'a Track,
    other: &'a Track,
    color: RGBColor,
    pixels: bool,
}

impl Pair<'_> {
    fn both(&self) -> [(&Track, RGBColor); 2] {
        [(self.real, REAL), (self.other, self.color)]
    }

    fn unit(&self, pixels: &'static str, scaled: &'static str) -> &'static str {
        if self.pixels { pixels } else { scaled }
    }

    fn panel(&self, area: &Area, panel: Panel) -> Drawn {
        match panel {
            Panel::Path => self.path(area),
            Panel::Speed => self.speed(area),
            Panel::Heading => self.heading(area),
            Panel::Means => self.means(area),
            Panel::Errors => self.errors(area),
        }
    }

    fn path(&self, area: &Area) -> Drawn {
        let [x, y] = plane(&[self.real, self.other], inside(area));
        let names = [self.unit("x, px", "dx, scaled"), self.unit("y, px", "dy, scaled")];
        let mut chart = chart(area, &Axes { title: "path", x, y, names })?;
        self.both().into_iter().try_for_each(|(track, color)| way(&mut chart, track, color, 5))
    }

    fn speed(&self, area: &Area) -> Drawn {
        let curves = || self.both().into_iter().flat_map(|(track, _)| &track.speed);
        let top = range(curves().map(|p| p[1]).chain([0.0]));
        let axes = Axes {
            title: "speed",
            x: range(curves().map(|p| p[0]).chain([0.0])),
            y: if self.pixels { 0.0..top.end } else { top },
            names: [self.unit("time, ms", "step"), self.unit("px/ms", "scaled")],
        };
        let mut chart = chart(area, &axes)?;
        for (track, color) in self.both() {
            line(&mut chart, &track.speed, color.stroke_width(LINE))?;
            dots(&mut chart, &track.speed, 5, color.filled())?;
        }
        Ok(())
    }

    /// Lines are broken where the angle wraps.
    fn heading(&self, area: &Area) -> Drawn {
        let times = self.both().into_iter().flat_map(|(track, _)| track.heading.iter().map(|p| p[0]));
        let names = [self.unit("time, ms", "step"), "degrees clockwise from the right"];
        let mut chart = chart(area, &Axes { title: "heading", x: range(times.chain([0.0])), y: -180.0..180.0, names })?;
        for (track, color) in self.both() {
            for piece in track.heading.chunk_by(|a, b| (a[1] - b[1]).abs() < 180.0) {
                line(&mut chart, piece, color.mix(0.4).stroke_width(LINE / 2))?;
            }
            dots(&mut chart, &track.heading, 6, color.filled())?;
        }
        Ok(())
    }

    fn means(&self, area: &Area) -> Drawn {
        let axes = Axes { title: "features: mean and deviation", x: -0.6..7.6, y: -1.3..1.3, names: ["", "scaled"] };
        let mut chart = chart(area, &axes)?;
        for (shift, (track, color)) in [-0.15, 0.15].into_iter().zip(self.both()) {
            for k in 0..FEATURES.len() {
                let (mean, deviation) = mean_and_deviation(track, k);
                let at = k as f64 + shift;
                line(&mut chart, &[[at, mean - deviation], [at, mean + deviation]], color.stroke_width(LINE))?;
                dots(&mut chart, &[[at, mean]], 9, color.filled())?;
            }
        }
        names_below(&chart, area, -1.3)
    }

    fn errors(&self, area: &Area) -> Drawn {
        const COLUMNS: usize = 64;
        let axes = Axes {
            title: "error: |real - reconstructed|, white 0, red 1",
            x: 0.0..1.0,
            y: -0.5..7.5,
            names: ["share of the movement", ""],
        };
        let mut chart = chart(area, &axes)?;
        for k in 0..FEATURES.len() {
            let row = 7.0 - k as f64;
            let cells = (0..COLUMNS).map(|c| {
                let [from, to] = [c, c + 1].map(|c| c as f64 / COLUMNS as f64);
                let middle = (from + to) / 2.0;
                let error = (at_share(self.real, k, middle) - at_share(self.other, k, middle)).abs().min(1.0);
                let [fade, dark] = [255.0, 45.0].map(|range| (255.0 - range * error) as u8);
                let corners = [(from, row - 0.46), (to, row + 0.46)];
                Rectangle::new(corners, RGBColor(dark, fade, fade).filled())
            });
            chart.draw_series(cells)?;
        }
        for (k, name) in FEATURES.iter().enumerate() {
            let (x, y) = chart.backend_coord(&(0.0, 7.0 - k as f64));
            let (left, top) = area.get_base_pixel();
            // Over the ticks, which would be numbers.
            let (x, y) = (x - left, y - top);
            area.draw(&Rectangle::new([(x - 92, y - 20), (x - 4, y + 20)], WHITE.filled()))?;
            text(area, name, SMALL, (x - 8, y), HPos::Right)?;
        }
        Ok(())
    }
}

/// Under their places, every other one lower: they are wider than their distance.
fn names_below(chart: &Chart, area: &Area, bottom: f64) -> Drawn {
    let (left, top) = area.get_base_pixel();
    for (k, name) in FEATURES.iter().enumerate() {
        let (x, y) = chart.backend_coord(&(k as f64, bottom));
        text(area, name, SMALL, (x - left, y - top + if k % 2 == 0 { 20 } else { 46 }), HPos::Center)?;
    }
    Ok(())
}

fn mean_and_deviation(track: &Track, k: usize) -> (f64, f64) {
    let n = track.features.len().max(1) as f64;
    let mean = track.features.iter().map(|row| f64::from(row[k])).sum::<f64>() / n;
    let square = track.features.iter().map(|row| (f64::from(row[k]) - mean).powi(2)).sum::<f64>() / n;
    (mean, square.sqrt())
}

/// Feature k at a share of the movement, between its rows.
fn at_share(track: &Track, k: usize, share: f64) -> f64 {
    let Some(last) = track.features.len().checked_sub(1) else { return 0.0 };
    let place = share * last as f64;
    let (low, part) = (place as usize, place.fract());
    let [a, b] = [low, (low + 1).min(last)].map(|i| f64::from(track.features[i][k]));
    a + part * (b - a)
}

/// Ranges that hold the paths with one scale for both axes, y downwards.
fn plane(tracks: &[&Track], (width, height): (u32, u32)) -> [Range<f64>; 2] {
    let of = |k: usize| range(tracks.iter().flat_map(|t| t.path.iter().map(move |p| p[k])));
    let (x, y) = (of(0), of(1));
    let (width, height) = (f64::from(width.max(1)), f64::from(height.max(1)));
    let scale = ((x.end - x.start) / width).max((y.end - y.start) / height);
    let wide = |r: Range<f64>, pixels: f64| {
        let (middle, half) = ((r.start + r.end) / 2.0, scale * pixels / 2.0);
        (middle - half, middle + half)
    };
    let ((left, right), (top, bottom)) = (wide(x, width), wide(y, height));
    [left..right, bottom..top]
}

/// The way with a dot for each event, a ring at its start and a dark disc at its end.
fn way(chart: &mut Chart, track: &Track, color: RGBColor, dot: i32) -> Drawn {
    line(chart, &track.path, color.stroke_width(LINE))?;
    dots(chart, &track.path, dot, color.filled())?;
    dots(chart, track.path.get(..1).unwrap_or_default(), 2 * dot + 4, color.stroke_width(LINE))?;
    let end = &track.path[track.path.len().saturating_sub(1)..];
    dots(chart, end, 2 * dot + 3, color.filled())?;
    dots(chart, end, 2 * dot - 2, INK.filled())
}

/// Movements in cells of their own, six a row, each with its own scale.
pub fn sheet(title: &str, tracks: &[Track], pixels: bool) -> io::Result<Picture> {
    const SIDE: u32 = 420;
    const COLUMNS: usize = 6;
    let columns = tracks.len().clamp(1, COLUMNS);
    let rows = tracks.len().div_ceil(columns).max(1);
    // Wide enough for the head.
    let width = (columns as u32 * SIDE).max(3 * SIDE);
    draw(width / 2, (HEAD + rows as u32 * SIDE) / 2, |area| {
        let (head, body) = area.split_vertically(HEAD);
        text(&head, title, TITLE, (28, 42), HPos::Left)?;
        let note = "Each has its own scale, y downwards. Ring: start, dark disc: end, dots: events.";
        text(&head, note, SMALL, (28, 96), HPos::Left)?;
        let (body, _) = body.split_horizontally(columns as u32 * SIDE);
        for (track, cell) in tracks.iter().zip(body.split_evenly((rows, columns))) {
            cell.draw(&Rectangle::new([(8, 8), (SIDE as i32 - 8, SIDE as i32 - 8)], FRAME.stroke_width(1)))?;
            text(&cell, &caption(track, pixels), SMALL, (SIDE as i32 / 2, SIDE as i32 - 30), HPos::Center)?;
            let inner = cell.margin(16, 56, 16, 16);
            let [x, y] = plane(&[track], inner.dim_in_pixel());
            let mut chart = ChartBuilder::on(&inner).build_cartesian_2d(x, y)?;
            way(&mut chart, track, MADE, 4)?;
        }
        Ok(())
    })
}

fn caption(track: &Track, pixels: bool) -> String {
    let points = track.path.len();
    if !pixels {
        return format!("{points} points");
    }
    let distance = track.path.last().map_or(0.0, |p| p[0].hypot(p[1]));
    // Speeds stand in the middle of their steps.
    let time = track.speed.iter().fold(0.0, |begin, p| 2.0 * p[0] - begin);
    format!("{distance:.0} px  {time:.0} ms  {points} points")
}

/// The losses of both stages over their iterations.
pub fn losses(model: &Model) -> io::Result<Picture> {
    const SIZE: (u32, u32) = (1500, 1000);
    let names: [&[&str]; 2] = match model.config().decoder {
        DecoderKind::V6 => [&["direct", "recon", "latent"], &["critic", "generator", "wasserstein"]],
        DecoderKind::ClosedLoop => [&["steps", "ticks", "stop"], &["critic", "generator", "wasserstein"]],
    };
    let units = match model.config().decoder {
        DecoderKind::V6 => ["mean squared error", "loss"],
        DecoderKind::ClosedLoop => ["nats a point", "loss"],
    };
    draw(SIZE.0, SIZE.1 / 2 + HEAD / 2, |area| {
        let (head, body) = area.split_vertically(HEAD);
        text(&head, "Losses, averaged over 100 iterations", TITLE, (28, 42), HPos::Left)?;
        text(&head, "Rings: on the validation split", SMALL, (28, 96), HPos::Left)?;
        let titles = ["stage 1: autoencoder", "stage 2: GAN"];
        for (k, cell) in body.split_evenly((1, 2)).iter().enumerate() {
            stage(cell, titles[k], &model.stages()[k].history, names[k], units[k])?;
        }
        Ok(())
    })
}

fn stage(area: &Area, title: &str, history: &[Record], names: &[&str], unit: &str) -> Drawn {
    const COLORS: [RGBColor; 4] = [REAL, MADE, REBUILT, OTHER];
    let (width, height) = area.dim_in_pixel();
    if history.is_empty() {
        return text(area, &format!("{title}: not trained"), TEXT, (width as i32 / 2, height as i32 / 2), HPos::Center);
    }
    let shown = 0..names.len();
    let values = history.iter().flat_map(|r| shown.clone().map(|k| r.losses[k]));
    let validated = history.iter().filter_map(|r| r.validation).flat_map(|v| shown.clone().map(move |k| v[k]));
    let axes = Axes {
        title,
        x: range(history.iter().map(|r| r.iteration as f64).chain([0.0])),
        y: range(values.chain(validated).chain([0.0])),
        names: ["iteration", unit],
    };
    let (head, body) = area.split_vertically(44);
    let entries: Vec<(&str, RGBColor)> = names.iter().copied().zip(COLORS).collect();
    legend(&head, &entries, (110, 24))?;
    let mut chart = chart(&body, &axes)?;
    for (k, (_, color)) in entries.iter().enumerate() {
        let curve = |of: &dyn Fn(&Record) -> Option<f64>| {
            history.iter().filter_map(|r| Some([r.iteration as f64, of(r)?])).collect::<Vec<_>>()
        };
        line(&mut chart, &curve(&|r| Some(r.losses[k])), color.stroke_width(LINE))?;
        dots(&mut chart, &curve(&|r| r.validation.map(|v| v[k])), 8, color.stroke_width(LINE))?;
    }
    if axes.y.start < 0.0 {
        line(&mut chart, &[[axes.x.start, 0.0], [axes.x.end, 0.0]], INK.stroke_width(1))?;
    }
    Ok(())
}
