//! The report as one page that needs nothing else: style, numbers and pictures are all in it.

use std::fmt::Write;

use super::kinematics::NAMES;
use super::obedience::Obedience;
use super::pictures::Pictures;
use super::report::{FeatureRow, Rating, Report};
use super::svg;
use super::text::{SEED_TABLE, between, short};

const STYLE: &str = include_str!("page.css");

impl Report {
    /// A whole HTML document, UTF-8.
    pub fn to_html(&self) -> String {
        let mut out = String::new();
        // Writing to a String cannot fail.
        let _ = self.write_html(&mut out);
        out
    }

    fn write_html(&self, out: &mut String) -> std::fmt::Result {
        let s = &self.sizes;
        write!(
            out,
            "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
             <title>trajgan evaluation</title><style>{STYLE}</style></head><body><header><h1>Evaluation</h1>\
             <p>{} generated movements against {} held-out real ones ({} trained on), {} on either side of each comparison. \
             Floor: real against real, {} rounds{}.</p>\
             <p class=\"legend\"><span class=\"key real\"></span> real <span class=\"key made\"></span> generated</p></header>",
            s.generated,
            s.held_out,
            s.train,
            s.compared,
            s.floor_rounds,
            if s.sessions > 0 { format!(", by {} sessions", s.sessions) } else { String::new() }
        )?;
        self.write_verdicts(out)?;
        self.write_scores(out)?;
        if let Some(pictures) = &self.pictures {
            self.write_pictures(out, pictures)?;
        }
        self.obedience.iter().try_for_each(|o| write_obedience(out, o))?;
        if let Some(said) = self.out_of_points() {
            write!(out, "<p>Warning: {said}</p>")?;
        }
        write_reference(out)?;
        write!(out, "<footer>trajgan {}, seed {}</footer></body></html>", self.version, self.seed)
    }

    fn write_pictures(&self, out: &mut String, p: &Pictures) -> std::fmt::Result {
        write!(
            out,
            "<section><h2>Speed profiles</h2><p>Speed over its mean, median and quartiles over normalised time.</p>{}</section>",
            svg::profiles(&p.real_profile, &p.generated_profile)
        )?;
        self.write_kinematics(out, p)?;
        write!(
            out,
            "<section><h2>Samples</h2><p>Each cell has its own scale, the same for x and y; y grows downwards. Ring: start, dot: end.</p>\
             <h3>Real</h3>{}<h3>Generated</h3>{}<h2>Their speed over time</h2><h3>Real</h3>{}<h3>Generated</h3>{}</section>",
            svg::paths(&p.real_paths, "real"),
            svg::paths(&p.generated_paths, "made"),
            svg::speeds(&p.real_speeds, "real"),
            svg::speeds(&p.generated_speeds, "made")
        )
    }

    fn write_verdicts(&self, out: &mut String) -> std::fmt::Result {
        let worst: Vec<&str> = self.worst().map(|f| f.name).collect();
        write!(out, "<section class=\"cards\">")?;
        for name in ["forest_auc", "forest_auc_resampled", "coverage"] {
            if let Some(s) = self.score(name) {
                let class = class_of(s.rating);
                write!(
                    out,
                    "<div class=\"card {class}\"><h3>{name}</h3><b>{}</b><p>{}; floor {}</p></div>",
                    short(s.value),
                    s.rating.name().to_lowercase(),
                    s.floor().map_or("not known".to_owned(), short)
                )?;
            }
        }
        let Some(m) = &self.memorisation else { return write!(out, "</section>") };
        match m.memorised {
            None => write!(out, "<div class=\"card\"><h3>memorisation</h3><p>{}</p></div>", m.verdict)?,
            Some(memorised) => write!(
                out,
                "<div class=\"card {}\"><h3>memorisation</h3><b>{:.1} %</b><p>{}; held-out {:.1} %, duplicates {:.1} % (real {:.1} %)</p></div>",
                if memorised { "poor" } else { "excellent" },
                100.0 * m.near_copies,
                m.verdict,
                100.0 * m.near_copies_floor,
                100.0 * m.duplicates,
                100.0 * m.duplicates_floor
            )?,
        }
        write!(out, "<div class=\"card\"><h3>worst features</h3><p>{}</p></div></section>", worst.join("<br>"))
    }

    fn write_scores(&self, out: &mut String) -> std::fmt::Result {
        write!(
            out,
            "<section><h2>Scores</h2><table><tr><th>Score<th class=\"n\">Value<th class=\"n\">95 % or p<th class=\"n\">Floor\
             <th class=\"n\">Floor's range<th class=\"n\">Ideal<th>Rating<th>What it is</tr>"
        )?;
        for s in &self.scores {
            let interval = between(s);
            let low = s.floors.iter().copied().fold(f64::INFINITY, f64::min);
            let high = s.floors.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let range = if s.floors.len() > 1 { format!("{} to {}", short(low), short(high)) } else { String::new() };
            write!(
                out,
                "<tr><td>{}<td class=\"n\">{}<td class=\"n\">{interval}<td class=\"n\">{}<td class=\"n\">{range}<td class=\"n\">{}\
                 <td><span class=\"tag {}\">{}</span><td>{}</tr>",
                s.name,
                short(s.value),
                s.floor().map_or(String::new(), short),
                short(s.ideal),
                class_of(s.rating),
                s.rating.name().to_lowercase(),
                s.meaning
            )?;
        }
        write!(out, "</table></section>")
    }

    fn write_kinematics(&self, out: &mut String, pictures: &Pictures) -> std::fmt::Result {
        write!(
            out,
            "<section><h2>Kinematics, worst first</h2><p>W1: Wasserstein-1 over the real interquartile range; KS: Kolmogorov-Smirnov \
             with permutation p. In brackets real against real. Gini: share of the forest's importance.</p><div class=\"grid\">"
        )?;
        for f in &self.features {
            let picture = NAMES.iter().position(|n| *n == f.name).and_then(|k| pictures.histograms.get(k));
            write_feature(out, f, &picture.map(svg::histogram).unwrap_or_default())?;
        }
        write!(
            out,
            "</div><h3>Fitts' law</h3><table><tr><th><th class=\"n\">a, ms<th class=\"n\">b, ms/bit<th class=\"n\">R2</tr>"
        )?;
        for (name, law) in [("real", self.fitts_real), ("generated", self.fitts_generated)] {
            let Some(law) = law else { continue };
            let (a, b, r2) = (law.a_ms, law.b_ms_per_bit, law.r2);
            write!(out, "<tr><td>{name}<td class=\"n\">{a:.0}<td class=\"n\">{b:.0}<td class=\"n\">{r2:.3}</tr>")?;
        }
        write!(out, "</table></section>")
    }
}

fn class_of(rating: Rating) -> &'static str {
    match rating {
        Rating::Excellent => "excellent",
        Rating::Good => "good",
        Rating::NeedsWork => "work",
        Rating::Poor => "poor",
    }
}

fn write_feature(out: &mut String, f: &FeatureRow, picture: &str) -> std::fmt::Result {
    write!(
        out,
        "<figure><figcaption><b>{}</b><br><small>{}</small></figcaption>{picture}\
         <p>W1 {:.3} ({:.3}), KS {:.3} ({:.3}), p {:.3} ({:.3}), Gini {:.3}<br>median {} real, {} generated</p></figure>",
        f.name,
        f.formula.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;"),
        f.wasserstein,
        f.wasserstein_floor,
        f.ks,
        f.ks_floor,
        f.ks_p,
        f.ks_p_floor,
        f.importance,
        short(f.real[2]),
        short(f.generated[2])
    )
}

fn write_obedience(out: &mut String, o: &Obedience) -> std::fmt::Result {
    write!(
        out,
        "<section><h2>Asked for {}</h2><p>{} requests: bias {:+.1} %, spread {:.1} %, median error {:.1} %, correlation {:.3}.</p>\
         <table><tr><th>Asked<th class=\"n\">Count<th class=\"n\">Bias<th class=\"n\">Bias %<th class=\"n\">Spread %</tr>",
        o.quantity,
        o.count,
        100.0 * o.relative_bias,
        100.0 * o.relative_spread,
        100.0 * o.median_relative_error,
        o.correlation
    )?;
    for b in &o.bins {
        write!(
            out,
            "<tr><td>{} to {}<td class=\"n\">{}<td class=\"n\">{}<td class=\"n\">{:+.1}<td class=\"n\">{:.1}</tr>",
            short(b.asked_low),
            short(b.asked_high),
            b.count,
            short(b.bias),
            100.0 * b.relative_bias,
            100.0 * b.relative_spread
        )?;
    }
    write!(out, "</table></section>")
}

fn write_reference(out: &mut String) -> std::fmt::Result {
    write!(
        out,
        "<section><h2>How scores are rated</h2><p>By their distance from the ideal over the farthest floor's: up to 1 excellent, \
         3 good, 5 needs work, beyond poor; chances of being right by their log odds. The seed's fixed table, for reference only:</p><table>"
    )?;
    for (i, row) in SEED_TABLE.iter().enumerate() {
        let cell = if i == 0 { "th" } else { "td" };
        write!(out, "<tr>")?;
        for text in row {
            write!(out, "<{cell}>{}</{cell}>", text.replace('<', "&lt;").replace('>', "&gt;"))?;
        }
        write!(out, "</tr>")?;
    }
    write!(out, "</table></section>")
}
