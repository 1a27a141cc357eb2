//! What the evaluation's tests share: made movements and the recordings beside the project.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;

use trajgan::rng::{Rng, Stream};
use trajgan::{Movement, Point};

pub fn shared(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared").join(path)
}

/// The recordings, or None with a line that says so.
pub fn balabit() -> Option<Vec<Movement>> {
    let path = shared("data/balabit/raw/movements.jsonl.gz");
    let Ok(file) = std::fs::File::open(&path) else {
        crate::skip::skipped(format_args!("no recordings at {}", path.display()));
        return None;
    };
    let lines = BufReader::new(flate2::read::GzDecoder::new(file)).lines();
    Some(lines.map(|line| movement(&serde_json::from_str(&line.unwrap()).unwrap())).collect())
}

fn movement(json: &serde_json::Value) -> Movement {
    let column = |name: &str| json[name].as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect::<Vec<_>>();
    let (x, y, t) = (column("x"), column("y"), column("t"));
    let points = (0..x.len()).map(|i| Point { x: x[i], y: y[i], t_ms: t[i] }).collect();
    let text = |name: &str| json[name].as_str().map(str::to_owned);
    Movement { user: text("user"), session: text("session"), ..Movement::new(points).unwrap() }
}

/// n + 1 points at equal times; `at` maps the share of time to x, y.
pub fn made(n: usize, duration_ms: f64, at: impl Fn(f64) -> (f64, f64)) -> Vec<Point> {
    let point = |i: usize| {
        let share = i as f64 / n as f64;
        let (x, y) = at(share);
        Point { x, y, t_ms: share * duration_ms }
    };
    (0..=n).map(point).collect()
}

/// Share of the way after a share of the time: minimum jerk (Flash and Hogan 1985).
pub fn minimum_jerk(s: f64) -> f64 {
    s * s * s * (10.0 + s * (-15.0 + 6.0 * s))
}

/// Hand-like toy movements: a minimum-jerk reach with a bow and a correction, whole pixels, 16 ms.
pub fn toy(count: usize, seed: u64) -> Vec<Movement> {
    let mut rng = Rng::new(seed, Stream::Demo, 0);
    let one = |_| {
        let (distance, angle) = (60.0 + 500.0 * rng.unit(), std::f64::consts::TAU * rng.unit());
        let (bow, first) = (0.08 * rng.normal(), 0.85 + 0.2 * rng.unit());
        let duration = 250.0 + 120.0 * (distance / 20.0 + 1.0).log2() * rng.range(0.7, 1.3);
        let n = (duration / 16.0) as usize;
        let points = made(n, n as f64 * 16.0, |s| {
            let along =
                first * minimum_jerk((s / 0.7).min(1.0)) + (1.0 - first) * minimum_jerk(((s - 0.4) / 0.6).max(0.0));
            let across = bow * (std::f64::consts::PI * along).sin();
            let (a, b) = (distance * along, distance * across);
            ((a * angle.cos() - b * angle.sin()).round(), (a * angle.sin() + b * angle.cos()).round())
        });
        Movement::new(points).unwrap()
    };
    (0..count).map(one).collect()
}

/// The straight line from each movement's start to its end at constant speed, in the same time, whole pixels.
pub fn straight_bot(like: &Movement) -> Movement {
    let (a, b) = (like.points[0], like.points[like.points.len() - 1]);
    let n = like.points.len() - 1;
    let points = made(n, like.duration_ms(), |s| ((a.x + (b.x - a.x) * s).round(), (a.y + (b.y - a.y) * s).round()));
    Movement { user: like.user.clone(), session: like.session.clone(), ..Movement::new(points).unwrap() }
}
