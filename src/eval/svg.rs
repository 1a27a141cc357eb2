//! Small inline pictures. Colours come from the page's style sheet: classes `real` and `made`.

use std::fmt::Write;

use super::pictures::{Histogram, Path, Profile};

/// Shares of a feature on either side: real filled, generated as an outline.
pub fn histogram(h: &Histogram) -> String {
    const WIDTH: f64 = 300.0;
    const HEIGHT: f64 = 90.0;
    let top = h.real.iter().chain(&h.generated).copied().fold(1e-12, f64::max);
    let outline = |bars: &[f64]| {
        let step = WIDTH / bars.len().max(1) as f64;
        let mut d = format!("M0 {HEIGHT}");
        for (i, share) in bars.iter().enumerate() {
            let y = HEIGHT * (1.0 - share / top);
            let _ = write!(d, "L{:.1} {y:.1}L{:.1} {y:.1}", i as f64 * step, (i + 1) as f64 * step);
        }
        d + &format!("L{WIDTH} {HEIGHT}")
    };
    format!(
        "<svg viewBox=\"0 0 {WIDTH} 106\" role=\"img\"><path class=\"real fill\" d=\"{}Z\"/><path class=\"made line\" d=\"{}\"/>\
         <path class=\"axis\" d=\"M0 {HEIGHT}H{WIDTH}\"/><text x=\"0\" y=\"103\">{}</text>\
         <text x=\"{WIDTH}\" y=\"103\" text-anchor=\"end\">{}</text></svg>",
        outline(&h.real),
        outline(&h.generated),
        super::text::short(h.low),
        super::text::short(h.high)
    )
}

/// Median and quartiles of both sides over normalised time.
pub fn profiles(real: &Profile, generated: &Profile) -> String {
    const WIDTH: f64 = 640.0;
    const HEIGHT: f64 = 240.0;
    let top = real.high.iter().chain(&generated.high).copied().fold(1.0, f64::max) * 1.05;
    let place = |k: usize, n: usize, v: f64| ((k as f64 + 0.5) / n as f64 * WIDTH, HEIGHT * (1.0 - v / top));
    let line = |curve: &[f64]| {
        let points = curve.iter().enumerate().map(|(k, v)| place(k, curve.len(), *v));
        polyline(points)
    };
    let band = |p: &Profile| {
        let n = p.low.len();
        let there = p.high.iter().enumerate().map(|(k, v)| place(k, n, *v));
        let back = p.low.iter().enumerate().rev().map(|(k, v)| place(k, n, *v));
        polyline(there.chain(back)) + "Z"
    };
    let mut out = String::from("<svg class=\"wide\" viewBox=\"-34 -6 690 276\" role=\"img\">");
    for tick in (0..=top as usize).step_by((top / 8.0).ceil() as usize) {
        let y = HEIGHT * (1.0 - tick as f64 / top);
        let _ = write!(
            out,
            "<path class=\"grid\" d=\"M0 {y:.1}H{WIDTH}\"/><text x=\"-8\" y=\"{:.1}\" text-anchor=\"end\">{tick}</text>",
            y + 4.0
        );
    }
    for (class, p) in [("real", real), ("made", generated)] {
        let _ = write!(
            out,
            "<path class=\"{class} band\" d=\"{}\"/><path class=\"{class} line\" d=\"{}\"/>",
            band(p),
            line(&p.median)
        );
    }
    let ends = [(0.0, "start", "start"), (WIDTH / 2.0, "middle", "share of the duration"), (WIDTH, "end", "end")];
    for (x, anchor, text) in ends {
        let _ = write!(out, "<text x=\"{x}\" y=\"262\" text-anchor=\"{anchor}\">{text}</text>");
    }
    out + "</svg>"
}

/// Paths in cells of a grid, each with its own scale, the same for x and y, y downwards. The start is a ring, the end a dot.
pub fn paths(paths: &[Path], class: &str) -> String {
    const CELL: f64 = 120.0;
    sheet(paths, CELL, |path, out| {
        let bound = |k: usize| path.iter().fold((0.0f64, 0.0f64), |(lo, hi), p| (lo.min(p[k]), hi.max(p[k])));
        let ((x0, x1), (y0, y1)) = (bound(0), bound(1));
        // Room for the length below.
        let scale = (CELL - 38.0) / (x1 - x0).max(y1 - y0).max(1.0);
        let (left, top) = ((CELL - scale * (x1 - x0)) / 2.0, (CELL - 14.0 - scale * (y1 - y0)) / 2.0);
        let at = |p: &[f64; 2]| (left + scale * (p[0] - x0), top + scale * (p[1] - y0));
        let _ = write!(out, "<path class=\"{class} line\" d=\"{}\"/>", polyline(path.iter().map(at)));
        path.iter().map(at).for_each(|(x, y)| {
            let _ = write!(out, "<circle class=\"{class} point\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"1.5\"/>");
        });
        if let (Some(first), Some(last)) = (path.first().map(at), path.last().map(at)) {
            let _ = write!(
                out,
                "<circle class=\"{class} ring\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"4\"/><circle class=\"{class} dot\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"3.5\"/>",
                first.0, first.1, last.0, last.1
            );
            let length = path.last().map_or(0.0, |p| p[0].hypot(p[1]));
            let _ = write!(
                out,
                "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{length:.0} px</text>",
                CELL - 4.0,
                CELL - 4.0
            );
        }
    })
}

/// Speed over time of the same movements, each cell with its own scales.
pub fn speeds(speeds: &[Path], class: &str) -> String {
    const CELL: f64 = 120.0;
    sheet(speeds, CELL, |curve, out| {
        let end = curve.last().map_or(1.0, |p| p[0].max(1e-9));
        let top = curve.iter().fold(1e-9f64, |top, p| top.max(p[1]));
        let at = |p: &[f64; 2]| (6.0 + (CELL - 12.0) * p[0] / end, CELL - 18.0 - (CELL - 28.0) * p[1] / top);
        let base = CELL - 18.0;
        let _ = write!(out, "<path class=\"axis\" d=\"M6 {base}H{}\"/>", CELL - 6.0);
        let _ = write!(out, "<path class=\"{class} line\" d=\"{}\"/>", polyline(curve.iter().map(at)));
        let _ = write!(out, "<text x=\"6\" y=\"{:.1}\">{top:.2} px/ms</text>", CELL - 5.0);
        let _ =
            write!(out, "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{end:.0} ms</text>", CELL - 4.0, CELL - 5.0);
    })
}

/// Cells in rows of six.
fn sheet(items: &[Path], cell: f64, draw: impl Fn(&Path, &mut String)) -> String {
    const COLUMNS: usize = 6;
    let rows = items.len().div_ceil(COLUMNS);
    let mut out =
        format!("<svg class=\"sheet\" viewBox=\"0 0 {} {}\" role=\"img\">", COLUMNS as f64 * cell, rows as f64 * cell);
    for (i, item) in items.iter().enumerate() {
        let (x, y) = ((i % COLUMNS) as f64 * cell, (i / COLUMNS) as f64 * cell);
        let _ = write!(
            out,
            "<g transform=\"translate({x} {y})\"><rect class=\"cell\" width=\"{cell}\" height=\"{cell}\"/>"
        );
        draw(item, &mut out);
        out += "</g>";
    }
    out + "</svg>"
}

fn polyline(points: impl Iterator<Item = (f64, f64)>) -> String {
    let mut d = String::new();
    for (i, (x, y)) in points.enumerate() {
        let _ = write!(d, "{}{x:.1} {y:.1}", if i == 0 { 'M' } else { 'L' });
    }
    d
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_do_not_crowd() {
        let profile = |high: f64| Profile { high: vec![high; 3], ..Profile::default() };
        let ticks = |high: f64| profiles(&profile(high), &Profile::default()).matches("grid").count();
        assert_eq!([0.0, 1.9, 7.0, 60.0].map(ticks), [2, 2, 8, 8]);
    }
}
