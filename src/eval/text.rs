//! The report as plain text, in the manner of the seed's.

use std::fmt::Write;

use super::obedience::Obedience;
use super::report::{Report, Score};

/// The seed's table of fixed thresholds, by the names that its scores have here, for reference: the ratings here come from the
/// floor instead.
pub const SEED_TABLE: [[&str; 5]; 5] = [
    ["Score", "Excellent", "Good", "Needs work", "Poor"],
    ["discriminative_accuracy", "0.50-0.55", "0.55-0.65", "0.65-0.75", ">0.75"],
    ["predictive_ratio", "<0.1", "0.1-0.5", "0.5-1.0", ">1.0"],
    ["mmd", "<0.01", "0.01-0.05", "0.05-0.1", ">0.1"],
    ["range_overlap", ">0.85", "0.7-0.85", "0.5-0.7", "<0.5"],
];

const RULE: &str = "\u{2500}\u{2500}\u{2500}\u{2500}\u{2500}\u{2500}\u{2500}\u{2500}\u{2500}\u{2500}";

impl Report {
    /// For a terminal at least 110 columns wide.
    pub fn to_text(&self) -> String {
        let mut out = String::new();
        // Writing to a String cannot fail.
        let _ = self.write_text(&mut out);
        out
    }

    fn write_text(&self, out: &mut String) -> std::fmt::Result {
        let rule = RULE.repeat(11);
        let s = &self.sizes;
        writeln!(out, "Evaluation Report\n{rule}")?;
        let by = if s.sessions > 0 { format!("{} sessions", s.sessions) } else { "movements".to_owned() };
        writeln!(
            out,
            "{} generated against {} held-out movements ({} trained on); {} a side; floor: real against real, {} rounds by {by}",
            s.generated, s.held_out, s.train, s.compared, s.floor_rounds
        )?;
        writeln!(out, "\n{:<26}{:>10}{:>18}{:>10}  Rating", "Score", "Value", "95 %", "Floor")?;
        for score in &self.scores {
            write_score(out, score)?;
        }
        if let Some(m) = &self.memorisation {
            writeln!(out, "{rule}\nMemorisation: {}", m.verdict)?;
        }
        if let Some(m) = self.memorisation.as_ref().filter(|m| m.memorised.is_some()) {
            writeln!(
                out,
                "  near-copies {:.2} % (held-out {:.2} %), duplicates {:.2} % (real {:.2} %), median distance to training {:.3} (held-out {:.3})",
                100.0 * m.near_copies,
                100.0 * m.near_copies_floor,
                100.0 * m.duplicates,
                100.0 * m.duplicates_floor,
                m.median_distance,
                m.median_distance_floor
            )?;
        }
        if !self.features.is_empty() {
            self.write_features(out)?;
        }
        for (name, law) in [("real", self.fitts_real), ("generated", self.fitts_generated)] {
            let Some(law) = law else { continue };
            writeln!(out, "Fitts {name:<10} a {:.0} ms, b {:.0} ms/bit, R2 {:.2}", law.a_ms, law.b_ms_per_bit, law.r2)?;
        }
        self.obedience.iter().try_for_each(|o| write_obedience(out, o))?;
        if let Some(error) = self.median_end_error_px {
            writeln!(out, "Asked for a target: median end error {error:.1} px")?;
        }
        if let Some(said) = self.out_of_points() {
            writeln!(out, "Warning: {said}")?;
        }
        writeln!(
            out,
            "{rule}\nRatings: distance from the ideal over the floor's; up to 1 excellent, 3 good, 5 needs work."
        )?;
        writeln!(out, "The seed's fixed table, for reference:")?;
        for row in SEED_TABLE {
            writeln!(out, "  {:<24}{:<12}{:<12}{:<12}{}", row[0], row[1], row[2], row[3], row[4])?;
        }
        Ok(())
    }

    fn write_features(&self, out: &mut String) -> std::fmt::Result {
        let worst: Vec<&str> = self.worst().map(|f| f.name).collect();
        writeln!(out, "\nKinematics, worst first: {}", worst.join(", "))?;
        writeln!(
            out,
            "{:<24}{:>10}{:>10}{:>8}{:>8}{:>8}{:>8}{:>14}{:>14}",
            "Feature", "W1/IQR", "floor", "KS", "p", "floor", "p", "real median", "gen. median"
        )?;
        for f in &self.features {
            writeln!(
                out,
                "{:<24}{:>10.3}{:>10.3}{:>8.3}{:>8.3}{:>8.3}{:>8.3}{:>14}{:>14}",
                f.name,
                f.wasserstein,
                f.wasserstein_floor,
                f.ks,
                f.ks_p,
                f.ks_floor,
                f.ks_p_floor,
                short(f.real[2]),
                short(f.generated[2])
            )?;
        }
        Ok(())
    }
}

fn write_score(out: &mut String, score: &Score) -> std::fmt::Result {
    let interval = between(score);
    let (value, floor) = (short(score.value), score.floor().map_or("-".to_owned(), short));
    writeln!(out, "{:<26}{value:>10}{interval:>18}{floor:>10}  {}", score.name, score.rating.name())
}

fn write_obedience(out: &mut String, o: &Obedience) -> std::fmt::Result {
    writeln!(
        out,
        "Asked for {} ({}): bias {:+.1} %, spread {:.1} %, median error {:.1} %, correlation {:.3}",
        o.quantity,
        o.count,
        100.0 * o.relative_bias,
        100.0 * o.relative_spread,
        100.0 * o.median_relative_error,
        o.correlation
    )?;
    for b in &o.bins {
        let (low, high) = (short(b.asked_low), short(b.asked_high));
        let (bias, spread) = (100.0 * b.relative_bias, 100.0 * b.relative_spread);
        writeln!(out, "  {low:>8} to {high:>8}: {:>5}  bias {bias:+6.1} %  spread {spread:5.1} %", b.count)?;
    }
    Ok(())
}

/// The score's interval, or its p.
pub(super) fn between(score: &Score) -> String {
    match (score.interval, score.p, score.p_floor) {
        (Some(i), ..) => format!("{:.3} to {:.3}", i.low, i.high),
        (None, Some(p), Some(floor)) => format!("p {p:.3} ({floor:.3})"),
        _ => String::new(),
    }
}

/// Three decimals or more that count, without trailing zeros.
pub(super) fn short(v: f64) -> String {
    let text = match v.abs() {
        a if a > 0.0 && a < 1e-3 => return format!("{v:.2e}"),
        a if a < 100.0 => format!("{v:.3}"),
        _ => return format!("{v:.0}"),
    };
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".to_owned() } else { text.to_owned() }
}
