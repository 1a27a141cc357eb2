//! The closed-loop decoder's codec: movements as events of whole pixels and clock ticks, in classes.
//!
//! Step classes: 0, +-1 ... +-8 pixels exactly, log-spaced beyond; time classes in ticks of the recording's clock:
//! 1 ... 5 exactly, log-spaced beyond, up to the longest in the recordings. The first class of times, 0 ticks, is what stands before
//! the first event; no event has it. Drawing is uniform within a class.

use serde::{Deserialize, Deserializer, Serialize};

use super::clock::{per_ms, tick, ticks};
use super::{Movement, Point, Turn};
use crate::error::{Error, Result};
use crate::order;

/// Numbers that the networks see of the state before an event.
pub const INPUTS: usize = 13;

/// Steps up to here, in pixels, and times up to here, in ticks, have classes of their own.
const EXACT_STEP: u32 = 8;
const EXACT_TICKS: u32 = 5;
/// Bounds on a codec: longer steps and pauses than these are drawn as these.
const MOST_STEP: u32 = 4096;
const MOST_TICKS: u32 = 4096;
pub const MOST_CLASSES: usize = 256;
/// Recorded time steps that are kept of a class.
const SPANS: usize = 129;

/// Fitted to recordings and stored in the model file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepCodec {
    /// Sampling interval of the recordings.
    pub tick_ms: f64,
    /// First value of each class of |step|, from 0, and one past the last value.
    pub step_edges: Vec<u32>,
    /// The same for ticks, from 0.
    pub tick_edges: Vec<u32>,
    /// Whether the recorder reports positions that have not changed.
    pub repeats: bool,
    /// Recorded times are whole parts of which so many are a millisecond: 1, 10, 100 or 1000; 0: of ticks alone. Of files that knew
    /// whole milliseconds only: whether they are those.
    #[serde(alias = "whole_ms", deserialize_with = "count_or_whether")]
    pub per_ms: u32,
    /// Of each class of ticks, where it holds several or recorded steps are no whole ticks even but for rounding: recorded steps (ms)
    /// from the shortest to the longest, evenly spread over how many there are. Else nothing: steps take their ticks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub spans_ms: Vec<Vec<f64>>,
    /// The longest last step: so many times the one before, and so many pixels where it turns by 90 degrees or more.
    #[serde(default = "least_landing")]
    pub landing: [f64; 2],
}

fn count_or_whether<'de, D: Deserializer<'de>>(from: D) -> std::result::Result<u32, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either {
        Count(u32),
        Whether(bool),
    }
    Ok(match Either::deserialize(from)? {
        Either::Count(count) => count,
        Either::Whether(whole) => whole.into(),
    })
}

/// What 99.6 % of Balabit's recordings keep to.
fn least_landing() -> [f64; 2] {
    [3.0; 2]
}

/// One step: whole pixels and the time since the event before, in ticks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Event {
    pub x: i32,
    pub y: i32,
    pub ticks: u32,
}

/// The classes of an event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Classes {
    pub x: u16,
    pub y: u16,
    pub ticks: u16,
    pub x_anchors: Anchors<X_ANCHORS>,
    pub y_anchors: Anchors<Y_ANCHORS>,
}

impl Classes {
    /// Of the head of x, y or ticks.
    pub fn anchors(&self, head: usize) -> &[Option<u16>] {
        let all: [&[Option<u16>]; 3] = [&self.x_anchors, &self.y_anchors, &[]];
        all[head]
    }
}

/// Classes that a step would have if the hand did something simple; None where it says nothing.
pub type Anchors<const N: usize> = [Option<u16>; N];
pub const X_ANCHORS: usize = 2;
pub const Y_ANCHORS: usize = 4;

/// A movement for teacher forcing. Row k is what stands before event k and which event that was; the last row
/// stands at the target.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Walk {
    /// (n,INPUTS) for n points.
    pub inputs: Vec<f32>,
    /// n - 1
    pub events: Vec<Classes>,
}

/// Pixels along an axis that a walk may have to go.
pub const MOST_WAY: f64 = 1e7;

/// Where a walk stands: what the next event depends on.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Place {
    /// Still to go, in pixels.
    pub left: [i32; 2],
    pub last: Event,
    /// Pixels of the whole movement.
    pub distance: f64,
    pub index: usize,
}

impl Place {
    /// In this order: x and y still to go, x and y of the last event, each as asinh(px / 2) / 3; the last event's class of ticks / 4,
    /// 0 before the first; ln(1 + px) / 6 of what is left and of the whole distance; events so far / 40, at most 3; 1 before the
    /// first event, else 0; and four numbers of [`StepCodec::encode_turned`].
    ///
    /// Pixels are squashed: near the target every pixel counts, far from it a tenth of the way does.
    pub fn inputs(&self, codec: &StepCodec) -> [f32; INPUTS] {
        let squash = |pixels: i32| (f64::from(pixels) / 2.0).asinh() / 3.0;
        let left = f64::from(self.left[0]).hypot(f64::from(self.left[1]));
        let time = if self.index == 0 { 0 } else { codec.tick_class(self.last.ticks) };
        [
            squash(self.left[0]),
            squash(self.left[1]),
            squash(self.last.x),
            squash(self.last.y),
            f64::from(time) / 4.0,
            left.ln_1p() / 6.0,
            self.distance.ln_1p() / 6.0,
            (self.index as f64 / 40.0).min(3.0),
            if self.index == 0 { 1.0 } else { 0.0 },
            // Not turned: see StepCodec::encode_turned.
            0.0,
            0.0,
            0.0,
            0.0,
        ]
        .map(|x| x as f32)
    }

    /// Of the next step's x: as the last step; straight to the target, as long as the last step.
    pub fn x_anchors(&self, codec: &StepCodec) -> Anchors<X_ANCHORS> {
        self.as_before(0, codec)
    }

    /// Of its y, where x (px) is drawn: in the direction of the last step; in that of the target; and as those of x.
    pub fn y_anchors(&self, codec: &StepCodec, x: i32) -> Anchors<Y_ANCHORS> {
        let along = |[dx, dy]: [i32; 2]| {
            let y = f64::from(x) * f64::from(dy) / f64::from(dx);
            (x != 0 && dx != 0).then(|| codec.nearest_class(y))
        };
        let [repeated, straight] = self.as_before(1, codec);
        [along([self.last.x, self.last.y]), along(self.left), repeated, straight]
    }

    /// None before the first step. The root and not hypot: it has the same bits in kernels/walk.cu.
    fn as_before(&self, axis: usize, codec: &StepCodec) -> [Option<u16>; 2] {
        let length = |[x, y]: [i32; 2]| (f64::from(x) * f64::from(x) + f64::from(y) * f64::from(y)).sqrt();
        let (last, moved) = ([self.last.x, self.last.y], self.index > 0);
        let straight = f64::from(self.left[axis]) * length(last) / length(self.left);
        [
            moved.then(|| codec.nearest_class(f64::from(last[axis]))),
            (moved && self.left != [0, 0]).then(|| codec.nearest_class(straight)),
        ]
    }

    /// The place after an event.
    pub fn after(&self, event: Event) -> Place {
        let left = [self.left[0] - event.x, self.left[1] - event.y];
        Place { left, last: event, index: self.index + 1, ..*self }
    }
}

/// What generator and critic see of a target (px): ln(1 + distance) / 3.5 - 1, direction cosine and sine.
pub fn condition(target: [f64; 2]) -> [f32; 3] {
    let distance = target[0].hypot(target[1]);
    let unit = distance.max(1.0);
    [distance.ln_1p() / 3.5 - 1.0, target[0] / unit, target[1] / unit].map(|x| x as f32)
}

impl StepCodec {
    /// Classes that cover the movements, and their clock. magnitudes: classes of |step|, 0 included; tick_classes: of time.
    ///
    /// # Errors
    /// `Argument` without a movement, or for a clock that ticks more slowly than every 1000000 ms.
    pub fn fit(movements: &[&Movement], magnitudes: usize, tick_classes: usize) -> Result<StepCodec> {
        let steps = |m: &&Movement| m.points.windows(2).map(|p| p[1].t_ms - p[0].t_ms).collect();
        let dts: Vec<Vec<f64>> = movements.iter().map(steps).collect();
        let count = dts.iter().map(Vec::len).sum::<usize>();
        if count == 0 {
            return Err(Error::argument("movements", 0, "1 or more"));
        }
        let tick_ms = tick(&dts);
        let longest = movements.iter().flat_map(|m| events(&m.points, tick_ms));
        let (step, ticks) = longest.fold((1, 1), |(step, ticks), e| {
            (step.max(e.x.unsigned_abs()).max(e.y.unsigned_abs()), ticks.max(e.ticks))
        });
        let still = movements.iter().flat_map(|m| events(&m.points, tick_ms)).filter(|e| (e.x, e.y) == (0, 0)).count();
        let mut codec = StepCodec {
            tick_ms,
            step_edges: edges(EXACT_STEP, magnitudes, step.min(MOST_STEP)),
            tick_edges: edges(EXACT_TICKS, tick_classes, ticks.min(MOST_TICKS)),
            repeats: still * 1000 > count,
            per_ms: per_ms(dts.iter().flatten().copied()),
            spans_ms: Vec::new(),
            landing: landing(movements, tick_ms),
        };
        codec.spans_ms = codec.spans(&dts.concat());
        codec.check()?;
        Ok(codec)
    }

    /// Refuses what `fit` cannot have made: for codecs from a file.
    pub fn check(&self) -> Result<()> {
        for (name, edges) in [("step_edges", &self.step_edges), ("tick_edges", &self.tick_edges)] {
            let fits = (2..=MOST_CLASSES).contains(&edges.len()) && edges[0] == 0 && edges.is_sorted_by(|a, b| a < b);
            if !fits || edges[edges.len() - 1] > 2 * MOST_STEP {
                return Err(Error::argument(name, format!("{edges:?}"), "rising numbers from 0"));
            }
        }
        if let Some(longest) = self.landing.iter().find(|longest| !(**longest >= 1.0 && **longest <= MOST_WAY)) {
            return Err(Error::argument("landing", longest, format!("1 to {MOST_WAY}")));
        }
        if !self.spans_ms.is_empty() && self.spans_ms.len() != self.tick_classes() {
            return Err(Error::argument(
                "spans_ms",
                self.spans_ms.len(),
                format!("0 or {} lists", self.tick_classes()),
            ));
        }
        let of_time = |spans: &Vec<f64>| match spans[..] {
            [] => true,
            [first, .., last] => spans.len() <= SPANS && spans.is_sorted() && first > 0.0 && last < 1e12,
            _ => false,
        };
        if let Some(spans) = self.spans_ms.iter().find(|spans| !of_time(spans)) {
            let got = format!("{} numbers from {:?} to {:?}", spans.len(), spans.first(), spans.last());
            return Err(Error::argument("spans_ms", got, format!("2 to {SPANS} rising ones above 0")));
        }
        if ![0, 1, 10, 100, 1000].contains(&self.per_ms) {
            return Err(Error::argument("per_ms", self.per_ms, "0, 1, 10, 100 or 1000"));
        }
        if !(self.tick_ms > 0.0 && self.tick_ms < 1e6) {
            return Err(Error::argument("tick_ms", self.tick_ms, "above 0, below 1000000"));
        }
        Ok(())
    }

    /// What [`StepCodec::spans_ms`] is for these time steps.
    fn spans(&self, dts: &[f64]) -> Vec<Vec<f64>> {
        /// So many of a hundred may be off: a clock that falters now and then is a clock.
        const OFF: usize = 1;
        let rounding = 1e-6 + if self.per_ms > 0 { 1.0 / f64::from(self.per_ms) } else { 1e-3 * self.tick_ms };
        let off = |dt: &&f64| (**dt - ticks(**dt, self.tick_ms) * self.tick_ms).abs() > rounding;
        let mut recorded = vec![Vec::new(); self.tick_classes()];
        for &dt in dts {
            let longest = f64::from(MOST_TICKS) * self.tick_ms;
            recorded[usize::from(self.tick_class(ticks(dt, self.tick_ms) as u32))].push(dt.min(longest));
        }
        let of_class = |(class, mut dts): (usize, Vec<f64>)| {
            let wide = self.tick_edges[class + 1] - self.tick_edges[class] > 1;
            if dts.is_empty() || (!wide && dts.iter().filter(off).count() * 100 <= dts.len() * OFF) {
                return Vec::new();
            }
            order::rise(&mut dts);
            (0..SPANS).map(|k| dts[k * (dts.len() - 1) / (SPANS - 1)]).collect()
        };
        let spans: Vec<_> = recorded.into_iter().enumerate().map(of_class).collect();
        if spans.iter().all(Vec::is_empty) { Vec::new() } else { spans }
    }

    /// Number of classes of a step along one axis.
    pub fn step_classes(&self) -> usize {
        2 * (self.step_edges.len() - 1) - 1
    }

    pub fn tick_classes(&self) -> usize {
        self.tick_edges.len() - 1
    }

    /// The class of no step at all.
    pub fn zero_class(&self) -> usize {
        self.step_edges.len() - 2
    }

    pub fn step_class(&self, step: i32) -> u16 {
        let k = class(&self.step_edges, step.unsigned_abs()) as i32;
        (self.zero_class() as i32 + if step < 0 { -k } else { k }) as u16
    }

    /// The class of a step that need not be whole.
    fn nearest_class(&self, step: f64) -> u16 {
        let most = f64::from(MOST_STEP);
        self.step_class(step.clamp(-most, most).round() as i32)
    }

    pub fn tick_class(&self, ticks: u32) -> u16 {
        class(&self.tick_edges, ticks)
    }

    /// A step of a class, for a number in [0,1).
    pub fn step(&self, class: usize, unit: f64) -> i32 {
        let k = class as i64 - self.zero_class() as i64;
        within(&self.step_edges, k.unsigned_abs() as usize, unit) as i32 * k.signum() as i32
    }

    /// Ticks of a class, for a number in [0,1).
    pub fn ticks(&self, class: usize, unit: f64) -> u32 {
        within(&self.tick_edges, class, unit)
    }

    /// A movement's events before they are put into classes. Positions are rounded to whole pixels from its first.
    pub fn events(&self, points: &[Point]) -> impl Iterator<Item = Event> {
        events(points, self.tick_ms)
    }

    /// A movement's inputs and events.
    pub fn encode(&self, points: &[Point]) -> Walk {
        let events: Vec<Event> = self.events(points).collect();
        let left = events.iter().fold([0, 0], |left, e| [left[0] + e.x, left[1] + e.y]);
        let distance = f64::from(left[0]).hypot(f64::from(left[1]));
        let mut place = Place { left, distance, ..Place::default() };
        let mut walk = Walk::default();
        for event in events {
            walk.inputs.extend(place.inputs(self));
            walk.events.push(Classes {
                x: self.step_class(event.x),
                y: self.step_class(event.y),
                ticks: self.tick_class(event.ticks),
                x_anchors: place.x_anchors(self),
                y_anchors: place.y_anchors(self, event.x),
            });
            place = place.after(event);
        }
        walk.inputs.extend(place.inputs(self));
        walk
    }

    /// The same of a movement that is turned first: the last four inputs are 1, the angle's sine and cosine, and 2 ln(scale); of one
    /// that is not, 0. None where too few points are left.
    pub fn encode_turned(&self, movement: &Movement, turn: Turn) -> Option<Walk> {
        let mut walk = self.encode(&movement.turned(turn)?.points);
        let said = [1.0, turn.angle.sin(), turn.angle.cos(), 2.0 * turn.scale.ln()].map(|x| x as f32);
        walk.inputs.chunks_exact_mut(INPUTS).for_each(|row| row[INPUTS - 4..].copy_from_slice(&said));
        Some(walk)
    }

    /// When a step of so many ticks that began at a time (ms) ends by [`StepCodec::spans_ms`], for a number in [0,1). None: by its ticks.
    pub fn end(&self, began: f64, ticks: u32, unit: impl FnOnce() -> f64) -> Option<f64> {
        let spans = self.spans_ms.get(usize::from(self.tick_class(ticks))).filter(|spans| !spans.is_empty())?;
        let place = unit() * (spans.len() - 1) as f64;
        let k = place as usize;
        Some(self.nearest_time(began + spans[k] + place.fract() * (spans[k + 1] - spans[k])))
    }

    /// In whole parts of a millisecond, where recorded times are.
    pub fn nearest_time(&self, t_ms: f64) -> f64 {
        let per_ms = f64::from(self.per_ms);
        if self.per_ms > 0 { (t_ms * per_ms).round() / per_ms } else { t_ms }
    }

    /// Milliseconds after so many ticks; phase in [0,1): where in the smallest part of a millisecond the clock began.
    pub fn time(&self, ticks: u64, phase: f64) -> f64 {
        let (exact, per_ms) = (ticks as f64 * self.tick_ms, f64::from(self.per_ms));
        if self.per_ms > 0 { (exact * per_ms + phase).floor() / per_ms } else { exact }
    }
}

/// Steps between whole-pixel positions, times in whole ticks, at least 1.
fn events(points: &[Point], tick_ms: f64) -> impl Iterator<Item = Event> {
    // Differences of what is within these still are whole numbers of 32 bits.
    let whole = |from: f64, to: f64| (to - from).round().clamp(-5e8, 5e8) as i32;
    let whole = move |p: &Point| [whole(points[0].x, p.x), whole(points[0].y, p.y)];
    points.windows(2).map(move |pair| {
        let (a, b) = (whole(&pair[0]), whole(&pair[1]));
        let ticks = ticks(pair[1].t_ms - pair[0].t_ms, tick_ms) as u32;
        Event { x: b[0] - a[0], y: b[1] - a[1], ticks }
    })
}

/// What the last steps of 99 % of the movements keep to, and no less than ever; those that stand still are none. Where hardly any of
/// them turns, what is so after a turn is not known: any last step will do.
fn landing(movements: &[&Movement], tick_ms: f64) -> [f64; 2] {
    const FEW: usize = 30;
    let (mut seen, mut any) = ([Vec::new(), Vec::new()], Vec::new());
    for movement in movements {
        let (mut last, mut earlier) = ([Event::default(); 2], Event::default());
        for event in events(&movement.points, tick_ms) {
            if (event.x, event.y) != (0, 0) {
                last = [earlier, event];
            }
            earlier = event;
        }
        let [before, last] = last.map(|e| [f64::from(e.x), f64::from(e.y)]);
        let length = |[x, y]: [f64; 2]| x.hypot(y);
        any.push(length(last));
        match before[0] * last[0] + before[1] * last[1] > 0.0 {
            true => seen[0].push(length(last) / length(before)),
            false => seen[1].push(length(last)),
        }
    }
    if seen[1].len() < FEW {
        seen[1] = any;
    }
    let mut landing = least_landing();
    for (landing, mut seen) in landing.iter_mut().zip(seen) {
        order::rise(&mut seen);
        let usual = seen.get((0.99 * seen.len() as f64) as usize);
        *landing = usual.map_or(*landing, |usual| usual.clamp(*landing, MOST_WAY));
    }
    landing
}

/// First values of `count` classes, 0 ... exact and then log-spaced up to `most`, and one past the last value.
fn edges(exact: u32, count: usize, most: u32) -> Vec<u32> {
    // One class at least is for all that is longer.
    let exact = exact.min((count as u32).saturating_sub(2));
    let mut edges: Vec<u32> = (0..=exact).collect();
    let (first, end) = (f64::from(exact + 1), f64::from(most.max(exact) + 1));
    let rest = count - edges.len();
    for k in 0..=rest {
        let spaced = first * (end / first).powf(k as f64 / rest.max(1) as f64);
        edges.push((spaced.round() as u32).max(edges[edges.len() - 1] + 1));
    }
    edges
}

fn class(edges: &[u32], value: u32) -> u16 {
    let k = edges.partition_point(|&e| e <= value) - 1;
    k.min(edges.len() - 2) as u16
}

fn within(edges: &[u32], class: usize, unit: f64) -> u32 {
    let (low, high) = (edges[class], edges[class + 1]);
    low + (f64::from(high - low) * unit) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn movement(steps: &[(f64, f64, f64)]) -> Movement {
        let mut points = vec![Point { x: 500.0, y: 300.0, t_ms: 7.0 }];
        for &(x, y, dt) in steps {
            let p = points[points.len() - 1];
            points.push(Point { x: p.x + x, y: p.y + y, t_ms: p.t_ms + dt });
        }
        Movement { points, ..Movement::default() }
    }

    fn codec() -> StepCodec {
        let m = movement(&[
            (1.0, 0.0, 16.0),
            (200.0, -300.0, 15.0),
            (-3.0, 8.0, 16.0),
            (5.0, 5.0, 200.0),
            (1.0, 1.0, 15.0),
        ]);
        StepCodec::fit(&[&m], 28, 12).unwrap()
    }

    /// Where few points are recorded, the last step may be the longest.
    #[test]
    fn the_longest_landing_is_as_recorded() {
        let landing = |steps: &[(f64, f64, f64)]| {
            let many: Vec<Movement> = (0..300).map(|_| movement(steps)).collect();
            StepCodec::fit(&many.iter().collect::<Vec<_>>(), 28, 12).unwrap().landing
        };
        assert_eq!(landing(&[(45.0, 0.0, 100.0), (255.0, 0.0, 103.0)]), [255.0 / 45.0, 255.0]);
        assert_eq!(landing(&[(90.0, 0.0, 100.0), (0.0, 40.0, 103.0)]), [3.0, 40.0]);
        assert_eq!(landing(&[(9.0, 0.0, 8.0), (4.0, 0.0, 8.0), (-1.0, 0.0, 8.0)]), [3.0; 2]);
    }

    #[test]
    fn every_step_is_in_its_class() {
        let codec = codec();
        for step in -400..=400 {
            let class = codec.step_class(step) as usize;
            assert!(class < codec.step_classes());
            let ends = [codec.step(class, 0.0), codec.step(class, 1.0 - 1e-12)];
            assert_eq!(codec.step_classes(), 2 * 28 - 1);
            if step.abs() > 300 {
                assert_eq!(class, if step > 0 { codec.step_classes() - 1 } else { 0 }, "{step}");
            } else {
                assert!((ends[0].min(ends[1])..=ends[0].max(ends[1])).contains(&step), "{step} {ends:?}");
            }
            if step.abs() <= 8 {
                assert_eq!(ends, [step, step]);
            }
        }
        assert_eq!(codec.step_class(0) as usize, codec.zero_class());
        codec.check().unwrap();
    }

    #[test]
    fn anchors_are_what_a_simple_hand_would_do() {
        let codec = codec();
        let class = |step: i32| Some(codec.step_class(step));
        let last = Event { x: -6, y: 2, ticks: 1 };
        let place = Place { left: [30, -40], last, index: 1, ..Place::default() };
        let straight = 40f64.sqrt() / 50.0; // of what is left, as long as the last step
        assert_eq!(place.x_anchors(&codec), [class(-6), class((30.0 * straight).round() as i32)]);
        let y = [class(2), class((-40.0 * straight).round() as i32)];
        assert_eq!(place.y_anchors(&codec, 9), [class(-3), class(-12), y[0], y[1]]);
        assert_eq!(place.y_anchors(&codec, 0), [None, None, y[0], y[1]]);
        // Before the first step only the target tells a direction, and at the target nothing does.
        let first = Place { last: Event::default(), index: 0, ..place };
        assert_eq!((first.x_anchors(&codec), first.y_anchors(&codec, -9)), ([None; 2], [None, class(12), None, None]));
        let there = Place { left: [0, 0], ..place };
        assert_eq!(
            (there.x_anchors(&codec), there.y_anchors(&codec, 3)),
            ([class(-6), None], [class(-1), None, class(2), None])
        );
        // Steps beyond all classes are in the last.
        let steep = Place { left: [1, -100_000], ..place };
        assert_eq!(steep.y_anchors(&codec, 300)[1], Some(0));
    }

    #[test]
    fn a_walk_ends_at_its_target() {
        let m = movement(&[(3.0, -4.0, 16.0), (2.0, 1.0, 31.0), (0.0, 1.0, 16.0)]);
        let codec = codec();
        let walk = codec.encode(&m.points);
        assert_eq!((walk.inputs.len(), walk.events.len()), (4 * INPUTS, 3));
        let (first, last) = (&walk.inputs[..INPUTS], &walk.inputs[3 * INPUTS..]);
        assert_eq!((first[8], last[8]), (1.0, 0.0));
        assert_eq!(last[..2], [0.0, 0.0]);
        assert!(first[0] > 0.0 && first[1] < 0.0);
        let steps: Vec<_> =
            walk.events.iter().map(|c| (codec.step(c.x.into(), 0.5), codec.step(c.y.into(), 0.5))).collect();
        assert_eq!(steps, [(3, -4), (2, 1), (0, 1)]);
        assert_eq!(codec.ticks(walk.events[1].ticks.into(), 0.5), 2);
    }

    /// One recording of a finer clock, and times are no whole milliseconds any more.
    #[test]
    fn times_are_as_fine_as_the_finest_recording() {
        let [whole, half, third] = [8.0, 7.5, 25.0 / 3.0].map(|dt| movement(&[(1.0, 0.0, dt), (1.0, 0.0, dt)]));
        let per_ms = |all: &[&Movement]| StepCodec::fit(all, 28, 12).unwrap().per_ms;
        assert_eq!([per_ms(&[&whole]), per_ms(&[&whole, &half]), per_ms(&[&half, &third])], [1, 10, 0]);
    }

    /// 120 Hz, as browsers tell it.
    #[test]
    fn times_are_in_tenths_where_recordings_are() {
        let steps: Vec<_> = (0..60).map(|i| f64::from(i) * 25.0 / 3.0).map(|t| (t * 10.0).round() / 10.0).collect();
        let steps: Vec<_> = steps.windows(2).map(|t| (2.0, 1.0, t[1] - t[0])).collect();
        let codec = StepCodec::fit(&[&movement(&steps)], 28, 12).unwrap();
        assert_eq!((codec.per_ms, [1, 2, 3].map(|ticks| codec.time(ticks, 0.5))), (10, [8.3, 16.7, 25.0]));
    }

    /// Of a clock that trembles, one whose last step of each movement is another, and several at once: steps are drawn as recorded, not
    /// as whole ticks. Of clocks that only round their ticks nothing is kept of what is one tick.
    #[test]
    fn time_steps_of_no_clock_are_those_recorded() {
        let of = |dt: &dyn Fn(usize) -> f64| {
            let dts: Vec<f64> = (0..3000).map(dt).collect();
            let steps: Vec<_> = dts.iter().map(|&dt| (2.0, 1.0, dt)).collect();
            let codec = StepCodec::fit(&[&movement(&steps)], 28, 12).unwrap();
            codec.check().unwrap();
            (codec, dts)
        };
        let tremble = |i: usize| ((8.0 + ((i * 7919 % 101) as f64 - 50.0) / 25.0) * 10.0).round() / 10.0;
        let touch = |i: usize| if i % 20 == 19 { 4.0 } else { 50.0 / 3.0 };
        let clocks = |i: usize| [1.0, 2.0, 8.0, 16.0, 17.0, 17.0][i / 500];
        for dt in [&tremble as &dyn Fn(usize) -> f64, &touch, &clocks] {
            let (codec, recorded) = of(dt);
            let unit = |i: usize| (i * 7919 % 3001) as f64 / 3001.0;
            let drawn = recorded.iter().enumerate().map(|(i, &dt)| {
                let ticks = ticks(dt, codec.tick_ms) as u32;
                codec.end(0.0, ticks, || unit(i)).unwrap_or(f64::from(ticks) * codec.tick_ms)
            });
            let [drawn, recorded] = [drawn.collect(), recorded].map(|mut x: Vec<f64>| {
                order::rise(&mut x);
                x
            });
            // Ticks of clocks that round are up to two thirds of a millisecond off.
            let near = drawn.iter().zip(&recorded).filter(|(a, b)| (*a - *b).abs() < 0.7).count();
            assert!(near >= 2900, "{near} of 3000");
        }
        let rounded =
            |hz: f64| move |i: usize| ((i + 1) as f64 * 1000.0 / hz).round() - (i as f64 * 1000.0 / hz).round();
        let falters = |i: usize| if i == 9 { 12.0 } else { 8.0 };
        for dt in [&rounded(64.0) as &dyn Fn(usize) -> f64, &rounded(144.0), &rounded(125.0), &falters] {
            let codec = of(dt).0;
            assert_eq!(codec.end(0.0, 1, || 0.5), None, "{codec:?}");
        }
    }

    /// What stands still at the end has landed before; and where no last step turns, one after a turn may be as long as any.
    #[test]
    fn the_last_step_is_the_last_that_moves() {
        let touch = movement(&[(30.0, 0.0, 16.0), (20.0, 0.0, 16.0), (12.0, 0.0, 16.0), (0.0, 0.0, 16.0)]);
        assert_eq!(StepCodec::fit(&[&touch], 28, 12).unwrap().landing, [3.0, 12.0]);
        let turned = movement(&[(30.0, 0.0, 16.0), (0.0, 5.0, 16.0)]);
        let all: Vec<&Movement> = std::iter::repeat_n(&touch, 900).chain(std::iter::repeat_n(&turned, 40)).collect();
        assert_eq!(StepCodec::fit(&all, 28, 12).unwrap().landing, [3.0, 5.0]);
    }

    /// Files of versions that knew whole milliseconds only.
    #[test]
    fn older_codecs_say_whether_times_are_whole() {
        let of = |more: &str| {
            let json =
                format!(r#"{{"tick_ms": 8, "step_edges": [0, 1], "tick_edges": [0, 1], "repeats": true, {more}}}"#);
            serde_json::from_str::<StepCodec>(&json).unwrap().per_ms
        };
        assert_eq!([r#""whole_ms": true"#, r#""whole_ms": false"#, r#""per_ms": 10"#].map(of), [1, 0, 10]);
    }

    #[test]
    fn a_turned_walk_says_so() {
        let m = movement(&[(3.0, -4.0, 16.0), (0.0, 1.0, 31.0), (0.0, 1.0, 16.0)]);
        let codec = codec();
        let quarter = Turn { angle: std::f64::consts::FRAC_PI_2, scale: 2.0 };
        let turned = m.turned(quarter).unwrap();
        let steps: Vec<_> = turned.points.windows(2).map(|p| (p[1].x - p[0].x, p[1].y - p[0].y)).collect();
        assert_eq!(steps, [(8.0, 6.0), (-2.0, 0.0), (-2.0, 0.0)]);
        let walk = codec.encode_turned(&m, quarter).unwrap();
        for (said, recorded) in walk.inputs.chunks(INPUTS).zip(codec.encode(&turned.points).inputs.chunks(INPUTS)) {
            assert_eq!((&said[..9], &recorded[9..]), (&recorded[..9], &[0.0; 4][..]));
            assert_eq!(said[9..].iter().map(|x| (x * 1e3).round()).collect::<Vec<_>>(), [1e3, 1e3, 0.0, 1386.0]);
        }
        // Points that have come to lie on the one before are gone, with their times.
        let small = m.turned(Turn { angle: 0.0, scale: 0.5 }).unwrap();
        assert_eq!(
            small.points.iter().map(|p| (p.x, p.y, p.t_ms)).collect::<Vec<_>>(),
            [(0.0, 0.0, 7.0), (2.0, -2.0, 23.0), (2.0, -1.0, 70.0)]
        );
        assert_eq!(m.turned(Turn { angle: 0.0, scale: 0.1 }), None);
    }

    #[test]
    fn a_mirrored_walk_is_the_mirror_of_the_walk() {
        let m = movement(&[(3.0, -4.0, 16.0), (20.0, 1.0, 31.0), (0.0, 1.0, 16.0)]);
        let codec = codec();
        let (a, b) = (codec.encode(&m.points), codec.encode(&m.mirrored(true, false).points));
        for (a, b) in a.inputs.chunks(INPUTS).zip(b.inputs.chunks(INPUTS)) {
            assert_eq!((a[0], a[1], a[2], a[4..].to_vec()), (-b[0], b[1], -b[2], b[4..].to_vec()));
        }
    }
}
