//! Paths from A to B and streams, with both decoders, on models that have learnt next to nothing: what is promised
//! holds for every model.

mod common;

use std::f64::consts::TAU;
use std::sync::OnceLock;

use common::{dataset, movements, tiny, tiny_closed_loop, trained};
use trajgan::rng::{Rng, Stream};
use trajgan::{Config, Dataset, Error, Model, Movement, Path, PathOptions, Point, SampleOptions};

type Ends = [[f64; 2]; 2];

/// Of times that have been scaled: two roundings.
const TIME: f64 = 1e-9;

fn models() -> &'static [(&'static str, Model); 2] {
    static MODELS: OnceLock<[(&str, Model); 2]> = OnceLock::new();
    MODELS.get_or_init(|| {
        // As many as it takes to learn to choose.
        let closed_loop = trained(&Config { candidates: 2, ..tiny_closed_loop() }, &dataset(400, 3), 2);
        [("v6", trained(&tiny(), &dataset(60, 3), 2)), ("closed-loop", closed_loop)]
    })
}

fn round(ends: Ends) -> Ends {
    ends.map(|p| p.map(f64::round))
}

fn distance([a, b]: Ends) -> f64 {
    (b[0] - a[0]).hypot(b[1] - a[1])
}

/// Any angle, 1 to 1500 px and as many short ones as long ones; still 1 px apart when rounded.
fn pairs(count: usize, seed: u64) -> Vec<Ends> {
    let pair = |i: u64| {
        let mut rng = Rng::new(seed, Stream::Evaluation, i);
        let from = [rng.range(-200.0, 2000.0), rng.range(-200.0, 1200.0)];
        loop {
            let (far, angle) = (1500f64.powf(rng.unit()), rng.range(0.0, TAU));
            let ends = [from, [from[0] + far * angle.cos(), from[1] + far * angle.sin()]];
            if distance(ends) >= 1.0 && distance(round(ends)) >= 1.0 {
                return ends;
            }
        }
    };
    let mut pairs: Vec<Ends> = (0..count as u64).map(pair).collect();
    // The shortest there are.
    pairs[0] = [[5.0, 5.0], [5.0, 4.0]];
    pairs[1] = [[5.0, 5.0], [4.0, 5.0]];
    pairs[2] = [[0.0, 0.0], [1.0, 0.0]];
    pairs
}

fn options() -> PathOptions {
    PathOptions { seed: 7, threads: 2, ..PathOptions::default() }
}

fn bits(points: &[Point]) -> Vec<[u64; 3]> {
    points.iter().map(|p| [p.x, p.y, p.t_ms].map(f64::to_bits)).collect()
}

fn same(a: &[Path], b: &[Path]) -> bool {
    let flags = |p: &Path| (p.scaled, p.forced);
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| bits(&a.points) == bits(&b.points) && flags(a) == flags(b))
}

fn is_whole(p: &Point) -> bool {
    [p.x, p.y].iter().all(|v| v.fract() == 0.0 && (*v != 0.0 || v.is_sign_positive()))
}

fn check(case: &str, points: &[Point], ends: Ends, integer_pixels: bool) {
    let [from, to] = if integer_pixels { round(ends) } else { ends };
    let (first, last) = (points[0], points[points.len() - 1]);
    assert_eq!(([first.x, first.y], first.t_ms), (from, 0.0), "{case}: begins");
    assert_eq!([last.x, last.y], to, "{case}: ends");
    assert!(points.iter().all(|p| p.x.is_finite() && p.y.is_finite() && p.t_ms.is_finite()), "{case}");
    assert!(points.windows(2).all(|p| p[1].t_ms > p[0].t_ms), "{case}: time stands still: {points:?}");
    assert!(!integer_pixels || points.iter().all(is_whole), "{case}: not in whole pixels");
}

#[test]
fn ends_are_exact_and_time_rises() {
    let pairs = pairs(10_000, 1);
    for (name, model) in models() {
        for integer_pixels in [true, false] {
            let options = PathOptions { integer_pixels, ..options() };
            let paths = model.paths(&pairs, &options).unwrap();
            assert_eq!(paths.len(), pairs.len());
            for (i, (path, &ends)) in paths.iter().zip(&pairs).enumerate() {
                check(&format!("{name}, integer {integer_pixels}, {i}: {ends:?}"), &path.points, ends, integer_pixels);
                assert!(!path.forced, "{name}, {i}: nothing forces it");
            }
            assert!(paths[10].points != paths[11].points);
        }
    }
}

/// Only distances that the recordings have are drawn as they are.
#[test]
fn scaling_is_told() {
    let distances: Vec<f64> = common::movements(60, 3).iter().map(|m| m.straight_distance()).collect();
    let longest = distances.iter().fold(0.0, |a: f64, &b| a.max(b));
    for (name, model) in models() {
        let beyond = model.learnt_distances().unwrap().1 + 1.0;
        let cases =
            [(200.0, false), (300.0, false), (beyond, true), (longest * 1.5, true), (5000.0, true), (2.0, true)];
        for (far, scaled) in cases {
            let path = model.path([1.0, 2.0], [1.0 + far, 2.0], &options()).unwrap();
            assert_eq!(path.scaled, scaled, "{name}: {far} px");
        }
    }
}

/// Where a path is at a time, on straight lines between its points.
fn line(points: &[Point], t_ms: f64) -> [f64; 2] {
    let k = points.partition_point(|p| p.t_ms < t_ms).clamp(1, points.len() - 1);
    let (a, b) = (points[k - 1], points[k]);
    let share = ((t_ms - a.t_ms) / (b.t_ms - a.t_ms)).clamp(0.0, 1.0);
    [a.x + (b.x - a.x) * share, a.y + (b.y - a.y) * share]
}

fn longest_step(points: &[Point]) -> f64 {
    points.windows(2).map(|p| (p[1].x - p[0].x).hypot(p[1].y - p[0].y)).fold(0.0, f64::max)
}

#[test]
fn polling_keeps_ends_durations_and_the_way() {
    let pairs = pairs(60, 2);
    for (name, model) in models() {
        let free = model.paths(&pairs, &PathOptions { integer_pixels: false, ..options() }).unwrap();
        for polling_hz in [60.0, 125.0, 1000.0, 8000.0] {
            for integer_pixels in [true, false] {
                let polled = model.paths(&pairs, &PathOptions { polling_hz, integer_pixels, ..options() }).unwrap();
                for (i, path) in polled.iter().enumerate() {
                    let case = format!("{name}, {polling_hz} Hz, integer {integer_pixels}, {i}");
                    let points = &path.points;
                    check(&case, points, pairs[i], integer_pixels);
                    let gap = 1000.0 / polling_hz;
                    let (last, even) = points.split_last().unwrap();
                    assert!(even.windows(2).all(|p| (p[1].t_ms - p[0].t_ms - gap).abs() < TIME), "{case}: uneven");
                    let end = last.t_ms - even[even.len() - 1].t_ms;
                    let short = even.len() == 1;
                    assert!((short || end >= 0.5 * gap - TIME) && end <= 1.5 * gap + TIME, "{case}: ends after {end}");
                    if integer_pixels {
                        continue; // rounded ends are another way
                    }
                    let before = &free[i].points;
                    assert_eq!(last.t_ms, before[before.len() - 1].t_ms, "{case}: duration");
                    // A cubic leaves its chord by less than the longest step.
                    let most = longest_step(before);
                    for p in points {
                        let [x, y] = line(before, p.t_ms);
                        assert!((p.x - x).hypot(p.y - y) <= most, "{case}: {p:?} is far from {x}, {y}");
                    }
                }
            }
        }
    }
}

#[test]
fn durations_are_kept() {
    let pairs = pairs(60, 3);
    for (name, model) in models() {
        let free = model.paths(&pairs, &options()).unwrap();
        let slow = model.paths(&pairs, &PathOptions { duration_scale: 1.7, ..options() }).unwrap();
        for (free, slow) in free.iter().zip(&slow) {
            let scaled: Vec<Point> = free.points.iter().map(|p| Point { t_ms: p.t_ms * 1.7, ..*p }).collect();
            assert_eq!(bits(&scaled), bits(&slow.points), "{name}");
        }
        let duration = |path: &Path| path.points[path.points.len() - 1].t_ms;
        let mut sorted: Vec<f64> = free.iter().map(duration).collect();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted[30];
        let limits = [(middle, 0.0), (0.0, middle), (0.9 * middle, 1.1 * middle), (5000.0, 5000.0), (0.0, 20.0)];
        for (min_duration_ms, max_duration_ms) in limits {
            for polling_hz in [0.0, 125.0] {
                let limited = PathOptions { min_duration_ms, max_duration_ms, polling_hz, ..options() };
                let paths = model.paths(&pairs, &limited).unwrap();
                let most = if max_duration_ms > 0.0 { max_duration_ms } else { f64::INFINITY };
                for (i, path) in paths.iter().enumerate() {
                    let case = format!("{name}, {min_duration_ms} to {max_duration_ms} ms, {polling_hz} Hz, {i}");
                    check(&case, &path.points, pairs[i], true);
                    let taken = duration(path);
                    assert!((min_duration_ms..=most).contains(&taken), "{case}: {taken}");
                }
                let forced = paths.iter().filter(|p| p.forced).count();
                assert!(min_duration_ms < 5000.0 || forced == 60, "{name}: {forced} are told to be stretched");
            }
        }
    }
}

#[test]
fn bounds_are_kept() {
    for (name, model) in models() {
        for (k, pair) in pairs(80, 4).into_iter().enumerate() {
            let integer_pixels = k % 2 == 0;
            let polling_hz = [0.0, 125.0][k / 2 % 2];
            let [a, b] = if integer_pixels { round(pair) } else { pair };
            // Tight around the ends, and not on whole pixels.
            let margin = [0.0, 0.3, 20.7][k % 3];
            let (low, high) = (|i: usize| a[i].min(b[i]) - margin, |i: usize| a[i].max(b[i]) + margin);
            let bounds = [low(0), low(1), high(0), high(1)];
            let free = PathOptions { integer_pixels, polling_hz, ..options() };
            let path = model.path(a, b, &PathOptions { bounds: Some(bounds), ..free.clone() }).unwrap();
            let case = format!("{name}, {k}, bounds {bounds:?}");
            check(&case, &path.points, [a, b], integer_pixels);
            let [l, t, r, b_] = bounds;
            let inside = |p: &Point| (l..=r).contains(&p.x) && (t..=b_).contains(&p.y);
            assert!(path.points.iter().all(inside), "{case}: {:?}", path.points);
            let free = model.path(a, b, &free).unwrap();
            if free.points.iter().all(inside) {
                assert_eq!(bits(&path.points), bits(&free.points), "{case}: there was no need to change it");
            }
        }
        // Between whole pixels a border is none, and 0 is never -0.
        let flat = PathOptions { bounds: Some([-0.5, -0.5, 300.5, 0.5]), ..options() };
        let path = model.path([0.0, 0.0], [300.0, 0.0], &flat).unwrap();
        assert!(path.forced && path.points.iter().all(|p| p.y.to_bits() == 0), "{name}: {:?}", path.points);
        // A screen that nothing leaves changes nothing and forces nothing.
        let wide = PathOptions { bounds: Some([-1e5, -1e5, 1e5, 1e5]), ..options() };
        let (all, pairs) = (model.paths(&pairs(60, 4), &wide).unwrap(), pairs(60, 4));
        assert!(same(&all, &model.paths(&pairs, &options()).unwrap()), "{name}");
    }
}

#[test]
fn candidates_are_chosen_from() {
    let pairs = pairs(60, 5);
    for (name, model) in models() {
        let one = model.paths(&pairs, &options()).unwrap();
        let chosen = model.paths(&pairs, &PathOptions { candidates: 4, ..options() }).unwrap();
        chosen.iter().zip(&pairs).for_each(|(path, &ends)| check(name, &path.points, ends, true));
        let first = one.iter().zip(&chosen).filter(|(a, b)| a == b).count();
        assert!((1..45).contains(&first), "{name}: {first} of 60 times the first of four");
    }
}

#[test]
fn a_path_does_not_depend_on_threads_or_batch() {
    let pairs = pairs(50, 6);
    for (name, model) in models() {
        // Everything that draws again or chooses.
        let tight = PathOptions { candidates: 3, min_duration_ms: 150.0, max_duration_ms: 400.0, ..options() };
        for options in [options(), tight] {
            let all = model.paths(&pairs, &options).unwrap();
            for threads in [1, 3, 8] {
                let other = PathOptions { threads, ..options.clone() };
                assert!(same(&all, &model.paths(&pairs, &other).unwrap()), "{name}: {threads} threads");
            }
            let from = |first: usize, count: usize| {
                let options = PathOptions { first: first as u64, ..options.clone() };
                model.paths(&pairs[first..first + count], &options).unwrap()
            };
            assert!(same(&all, &(0..50).flat_map(|i| from(i, 1)).collect::<Vec<_>>()), "{name}: one at a time");
            assert!(same(&all, &[from(0, 17), from(17, 30), from(47, 3)].concat()), "{name}: in three parts");
            let other = model.paths(&pairs, &PathOptions { seed: 8, ..options.clone() }).unwrap();
            assert!(!all.iter().zip(&other).any(|(a, b)| a.points == b.points && a.points.len() > 8), "{name}: seed");
        }
        assert!(model.paths(&[], &options()).unwrap().is_empty());
    }
}

/// Sample indices are any 64-bit numbers.
#[test]
fn the_last_index_is_an_index() {
    let pairs = pairs(3, 7);
    for (name, model) in models() {
        let options = PathOptions { first: u64::MAX, candidates: 2, ..options() };
        let paths = model.paths(&pairs, &options).unwrap();
        assert_eq!(paths.len(), 3, "{name}");
        let after = model.paths(&pairs[1..], &PathOptions { first: 0, ..options }).unwrap();
        assert!(same(&paths[1..], &after), "{name}: the indices go round");
    }
}

fn streamed(model: &Model, [from, to]: Ends, options: &PathOptions) -> Vec<Point> {
    model.stream(from, to, options).unwrap().collect()
}

#[test]
fn a_stream_is_the_path() {
    // Within, below and above what the models have learnt, at odd angles and off the pixel grid.
    let mut ends = pairs(60, 8);
    ends.extend([[[0.3, 0.7], [4000.1, -2000.9]], [[-0.2, -0.4], [1.3, 0.9]], [[10.0, 10.0], [190.0, 250.0]]]);
    for (name, model) in models() {
        for (i, &ends) in ends.iter().enumerate() {
            for integer_pixels in [true, false] {
                for duration_scale in [1.0, 1.7] {
                    let candidates = 1 + (i % 2) as u32;
                    let first = i as u64;
                    let options = PathOptions { integer_pixels, duration_scale, candidates, first, ..options() };
                    let path = model.path(ends[0], ends[1], &options).unwrap();
                    let case = format!("{name}, {ends:?}, integer {integer_pixels}, scale {duration_scale}");
                    assert_eq!(bits(&path.points), bits(&streamed(model, ends, &options)), "{case}");
                }
            }
        }
    }
}

#[test]
fn a_stream_tells_where_it_is_at_any_time() {
    for (name, model) in models() {
        for (i, ends) in pairs(40, 9).into_iter().enumerate() {
            let options = PathOptions { first: i as u64, integer_pixels: i % 2 == 0, ..options() };
            let points = model.path(ends[0], ends[1], &options).unwrap().points;
            let last = points[points.len() - 1];
            let mut stream = model.stream(ends[0], ends[1], &options).unwrap();
            let mut t_ms = 0.0;
            let mut rng = Rng::new(3, Stream::Evaluation, i as u64);
            while t_ms < last.t_ms {
                let (at, [x, y]) = (stream.at(t_ms), line(&points, t_ms));
                assert_eq!(at.t_ms, t_ms);
                let most = 1e-9 * (1.0 + x.abs() + y.abs());
                assert!((at.x - x).abs() <= most && (at.y - y).abs() <= most, "{name}, {i}: {at:?}, not {x}, {y}");
                t_ms += rng.range(0.1, 30.0);
            }
            for late in [last.t_ms, last.t_ms + 0.5, 1e9] {
                assert_eq!(stream.at(late), Point { t_ms: late, ..last }, "{name}, {i}");
            }
            assert_eq!(stream.next_point(), None);
        }
    }
}

#[test]
fn a_stream_can_be_aimed_anew() {
    for (name, model) in models() {
        for (i, ends) in pairs(120, 10).into_iter().enumerate() {
            let integer_pixels = i % 2 == 0;
            let options = PathOptions { first: i as u64, integer_pixels, ..options() };
            let points = model.path(ends[0], ends[1], &options).unwrap().points;
            // Before the first point, after each of some, and when the last one has been seen.
            let after = [0, 1, points.len() / 2, points.len() - 1, points.len()].map(|k| (k, 300.0));
            for (k, far) in after.into_iter().chain([(2, 3000.0)]) {
                let mut rng = Rng::new(4, Stream::Evaluation, (i * 100 + k) as u64);
                let to = [ends[1][0] + rng.range(-far, far), ends[1][1] + rng.range(-far, far)];
                let mut stream = model.stream(ends[0], ends[1], &options).unwrap();
                let mut seen: Vec<Point> = stream.by_ref().take(k).collect();
                stream.aim(to).unwrap();
                seen.extend(stream);
                let case = format!("{name}, {i}: {ends:?}, to {to:?} after {k} of {}", points.len());
                assert_eq!(bits(&seen[..k]), bits(&points[..k]), "{case}");
                check(&case, &seen, [ends[0], to], integer_pixels);
                // Rounding to whole pixels moves either end of a step by half a diagonal.
                let rounding = if integer_pixels { 2f64.sqrt() } else { 1e-9 };
                let (longest, before) = (longest_step(&seen), longest_step(&points));
                assert!(longest <= 2.0 * before + rounding, "{case}: a step of {longest}, {before} before");
            }
        }
    }
}

/// Followed around for a long time it still gets there.
#[test]
fn a_stream_can_be_aimed_over_and_over() {
    for (name, model) in models() {
        let mut stream = model.stream([0.0, 0.0], [200.0, 100.0], &options()).unwrap();
        let (mut rng, mut seen) = (Rng::new(4, Stream::Evaluation, 0), Vec::new());
        let (mut to, mut there) = ([200.0, 100.0], 0);
        for _ in 0..300 {
            to = to.map(|x: f64| (x + rng.range(2.0, 20.0)).round());
            stream.aim(to).unwrap();
            seen.extend(stream.next_point());
            there += usize::from(seen.last().is_some_and(|p| [p.x, p.y] == to));
        }
        assert!(name == &"v6" || there < 150, "it walks, and does not jump: {there} of 300");
        seen.extend(stream);
        check(name, &seen, [[0.0, 0.0], to], true);
    }
}

/// Aimed at where it goes anyway, nothing changes.
#[test]
fn the_same_target_is_the_same_stream() {
    for (name, model) in models() {
        let ends = [[3.0, 4.0], [203.0, -96.0]];
        let points = streamed(model, ends, &options());
        let mut stream = model.stream(ends[0], ends[1], &options()).unwrap();
        let mut seen = Vec::new();
        for _ in 0..points.len() {
            stream.aim(ends[1]).unwrap();
            seen.extend(stream.next_point());
        }
        assert_eq!(bits(&seen), bits(&points), "{name}");
    }
}

fn refused<T>(result: Result<T, Error>, parts: &[&str]) {
    let Err(error) = result else { panic!("taken: {parts:?}") };
    assert!(matches!(error, Error::Argument { .. }), "{error}");
    let message = error.to_string();
    parts.iter().for_each(|part| assert!(message.contains(part), "'{message}' does not say {part}"));
}

/// A path is asked for by its ends, and conditions of the caller's own may be anything.
#[test]
fn a_model_with_own_conditions_has_no_paths() {
    let mut data = Dataset::new(3);
    movements(60, 3)
        .into_iter()
        .for_each(|m| data.push(m.clone(), Some(&[m.duration_ms(), m.duration_ms(), 3.0])).unwrap());
    let model = trained(&Config { condition_dim: 3, ..tiny() }, &data, 1);
    for candidates in [1, 2, 3] {
        let options = PathOptions { candidates, ..options() };
        let Err(Error::State { problem, .. }) = model.path([0.0, 0.0], [90.0, 0.0], &options) else { panic!() };
        assert!(problem.contains("condition"), "{problem}");
        assert!(matches!(model.stream([0.0, 0.0], [90.0, 0.0], &options), Err(Error::State { .. })));
    }
    let draw = |condition: [f64; 3]| model.generate(1, Some(&condition), &SampleOptions::default());
    draw([1.0, 2.0, 3.0]).unwrap();
    refused(draw([1.0, 1e300, 3.0]), &["conditions[1]", "1000000 times"]);
}

/// What stands in a message as the limit is allowed.
#[test]
fn limits_are_allowed() {
    let ends = [[-1e6, 1e6], [1e6, 1e6]];
    for (_, model) in models() {
        for (duration_scale, polling_hz, candidates) in [(0.001, 8000.0, 0), (1000.0, 60.0, 1)] {
            let exact = PathOptions { duration_scale, polling_hz, candidates, ..options() };
            let path = model.path(ends[0], ends[1], &exact).unwrap();
            check("limits", &path.points, ends, true);
        }
        let hour = PathOptions { min_duration_ms: 3_600_000.0, max_duration_ms: 3_600_000.0, ..options() };
        assert_eq!(model.path([0.0, 0.0], [1.0, 0.0], &hour).unwrap().points.last().unwrap().t_ms, 3_600_000.0);
        refused(
            model.path(ends[0], ends[1], &PathOptions { max_duration_ms: 0.9, ..options() }),
            &["duration", "1 ms"],
        );
        let bounds = Some([-1e6, 1e6, 1e6, 1e6]); // the way itself
        assert!(model.path(ends[0], ends[1], &PathOptions { bounds, ..options() }).is_ok());
        assert!(model.stream([0.0, 0.0], [9.0, 0.0], &options()).unwrap().aim([1e6, -1e6]).is_ok());
    }
}

#[test]
fn errors_name_the_value() {
    let (a, b) = ([10.0, 20.0], [110.0, 20.0]);
    for (_, model) in models() {
        let exact = PathOptions { integer_pixels: false, ..options() };
        refused(model.path(a, [10.5, 20.0], &exact), &["ends[0]", "0.5", "1 px"]);
        refused(model.path(a, [10.4, 20.4], &options()), &["ends[0]", "0", "1 px"]);
        refused(model.paths(&[[a, b], [a, a]], &options()), &["ends[1]"]);
        for bad in [f64::NAN, f64::INFINITY, 1e7] {
            let text = format!("{bad:?}");
            refused(model.path(a, [bad, 0.0], &options()), &["ends[0]", &text]);
            refused(model.path([0.0, bad], b, &exact), &["ends[0]", &text]);
            refused(model.stream(a, [bad, 0.0], &options()), &["ends[0]", &text]);
        }
        let outside = PathOptions { bounds: Some([0.0, 0.0, 100.0, 100.0]), ..options() };
        refused(model.path(a, b, &outside), &["ends[0]", "110", "inside"]);
        type Change = fn(&mut PathOptions);
        let cases: [(Change, &[&str]); 11] = [
            (|o| o.polling_hz = 10.0, &["polling_hz", "10", "60 to 8000"]),
            (|o| o.polling_hz = 8001.0, &["polling_hz", "8001"]),
            (|o| o.polling_hz = f64::NAN, &["polling_hz", "NaN"]),
            (|o| o.candidates = 5000, &["candidates", "5000"]),
            (|o| o.duration_scale = 0.0, &["duration_scale", "0"]),
            (|o| o.step_temperature = f64::NAN, &["step_temperature", "NaN"]),
            (|o| o.time_temperature = -1.0, &["time_temperature", "-1"]),
            (|o| o.min_duration_ms = -5.0, &["min_duration_ms", "-5"]),
            (|o| (o.min_duration_ms, o.max_duration_ms) = (50.0, 20.0), &["duration_ms", "50", "20"]),
            (|o| o.bounds = Some([200.0, 0.0, 100.0, 100.0]), &["bounds", "200"]),
            (|o| o.bounds = Some([f64::NAN, 0.0, 100.0, 100.0]), &["bounds", "NaN"]),
        ];
        for (change, parts) in cases {
            let mut options = options();
            change(&mut options);
            refused(model.path(a, b, &options), parts);
        }
        let scaled = PathOptions { duration_scale: f64::NAN, ..options() };
        refused(model.stream(a, b, &scaled), &["duration_scale", "NaN"]);
        let cases: [Change; 4] = [
            |o| o.polling_hz = 125.0,
            |o| o.bounds = Some([0.0, 0.0, 500.0, 500.0]),
            |o| o.min_duration_ms = 100.0,
            |o| o.max_duration_ms = 100.0,
        ];
        for change in cases {
            let mut options = options();
            change(&mut options);
            refused(model.stream(a, b, &options), &["bounds, durations or polling_hz", "stream"]);
        }
    }
    for (_, model) in models() {
        let mut stream = model.stream(a, b, &options()).unwrap();
        for (bad, text) in [([f64::NAN, 0.0], "x is NaN"), ([0.0, -1e7], "y is -10000000,")] {
            refused(stream.aim(bad), &[text, "within 1000000 px"]);
        }
        let seen: Vec<Point> = stream.by_ref().collect();
        assert_eq!(bits(&seen), bits(&streamed(model, [a, b], &options())), "refusals change nothing");
        assert!(matches!(stream.aim([0.0, 0.0]), Err(Error::State { .. })), "it has ended");
    }
    let untrained = Model::new(tiny(), trajgan::Device::Cpu).unwrap();
    assert!(matches!(untrained.path(a, b, &options()), Err(Error::State { .. })));
    assert!(matches!(untrained.stream(a, b, &options()), Err(Error::State { .. })));
}

/// Scaled to 300 px, movements of no distance would be anywhere.
#[test]
fn a_model_of_closed_movements_has_no_paths() {
    let mut data = Dataset::new(1);
    for i in 0..40 {
        let point = |k: i32| {
            let (sin, cos) = (TAU * f64::from(k % 12) / 12.0).sin_cos();
            let radius = 20.0 + f64::from(i);
            Point { x: (radius * cos).round(), y: (radius * sin).round(), t_ms: f64::from(8 * k) }
        };
        data.push(Movement::new((0..13).map(point).collect()).unwrap(), None).unwrap();
    }
    let model = trained(&tiny_closed_loop(), &data, 2);
    assert_eq!(model.learnt_distances(), Some((0.0, 0.0)));
    let refused = |error| assert!(matches!(error, Error::State { call: "path", .. }), "{error}");
    refused(model.path([0.0, 0.0], [300.0, 40.0], &options()).unwrap_err());
    refused(model.stream([0.0, 0.0], [300.0, 40.0], &options()).unwrap_err());
    assert!(model.generate(5, None, &SampleOptions::default()).unwrap().iter().all(|m| m.straight_distance() == 0.0));
}
