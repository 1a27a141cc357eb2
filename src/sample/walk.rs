//! The closed-loop decoder at work: walks of several rows at a time, or of one.
//!
//! Events have the probabilities of `model::walker`, but for these rules. The last event is not the first, and not longer than the
//! codec's `landing`. Where the recorder reports only changes, no step is 0, and a walk that comes to its target has ended, even if
//! that event was not to be the last. Where there is room for one more point only, it is the target.

use crate::backend::cpu::{Buffer, Isa, math};
use crate::data::steps::{Event, Place, StepCodec, X_ANCHORS, Y_ANCHORS};
use crate::data::{Movement, Point};
use crate::model::walker::Walker;
use crate::nn::Weights;
use crate::nn::running::Running;
use crate::rng::{Rng, Stream};

/// What a walk may be told beside its target.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WalkSettings {
    /// Softmax temperatures of steps and of times; 1: as learnt.
    pub step_temperature: f64,
    pub time_temperature: f64,
    /// Points of the longest walk: where there is room for no more, the last step goes to the target, whatever is left.
    pub most_points: usize,
    /// Pixels of the longest step, 1 or more. It wins over most_points.
    pub longest_step: f64,
}

/// A movement has three points.
const FEWEST_EVENTS: usize = 2;

/// Random numbers of an event: two blocks of four words, whatever is drawn from them.
#[derive(Clone, Copy, Debug)]
struct Dice([f64; 8]);

impl Dice {
    fn throw(rng: &Rng, index: usize) -> Dice {
        let unit = |word: u32| f64::from(word) / 4_294_967_296.0;
        let [a, b] = [0, 1].map(|k| rng.block(2 * index as u32 + k).map(unit));
        Dice([a[0], a[1], a[2], a[3], b[0], b[1], b[2], b[3]])
    }
}

/// One walk under way.
#[derive(Clone, Debug)]
pub struct Walking {
    pub place: Place,
    /// Whether the last event has been.
    pub arrived: bool,
    /// Whole pixels and ticks since the start.
    position: [i64; 2],
    ticks: u64,
    /// By how much time is later than ticks say: some steps have times of their own.
    shift_ms: f64,
    phase: f64,
    rng: Rng,
    pub points: Vec<Point>,
}

impl Walking {
    /// A walk to a target in whole pixels, with room for so many points. Its random numbers are those of (seed, sample).
    pub fn new(target: [i32; 2], seed: u64, sample: u64, most_points: usize) -> Walking {
        let distance = f64::from(target[0]).hypot(f64::from(target[1]));
        let rng = Rng::new(seed, Stream::SampleEvents, sample);
        let phase = Dice::throw(&rng, u32::MAX as usize / 2).0[0];
        let place = Place { left: target, distance, ..Place::default() };
        let mut points = Vec::with_capacity(most_points);
        points.push(Point::default());
        Walking { place, arrived: false, position: [0; 2], ticks: 0, shift_ms: 0.0, phase, rng, points }
    }

    pub(super) fn go(&mut self, event: Event, codec: &StepCodec) {
        self.position[0] += i64::from(event.x);
        self.position[1] += i64::from(event.y);
        self.ticks += u64::from(event.ticks);
        let before = self.points.last().map_or(0.0, |p| p.t_ms);
        let by_ticks = codec.nearest_time(codec.time(self.ticks, self.phase) + self.shift_ms);
        let t_ms = match codec.end(before, event.ticks, || Dice::throw(&self.rng, self.place.index).0[6]) {
            Some(end) => {
                self.shift_ms += end - by_ticks;
                end.max(before + 1e-3)
            }
            // Ticks below a millisecond can round to the same time.
            None => by_ticks.max(before + codec.tick_ms.min(1.0)),
        };
        self.points.push(Point { x: self.position[0] as f64, y: self.position[1] as f64, t_ms });
        self.place = self.place.after(event);
    }

    /// Another target, in whole pixels from the start: what is left to go changes. A walk that stands there has arrived.
    pub fn aim(&mut self, target: [i32; 2]) {
        let left = |axis: usize| (i64::from(target[axis]) - self.position[axis]) as i32;
        self.place.left = [left(0), left(1)];
        self.place.distance = f64::from(target[0]).hypot(f64::from(target[1]));
        self.arrived = self.place.left == [0, 0] && self.place.index >= FEWEST_EVENTS;
    }

    pub fn movement(self) -> Movement {
        Movement { points: self.points, user: None, session: None }
    }
}

/// States and buffers of rows that walk together.
#[derive(Clone, Debug, Default)]
pub struct Walkers {
    running: Running<f32>,
    x: Buffer<f32>,
    trunk: Buffer<f32>,
    active: Buffer<f32>,
    gate: Buffer<f32>,
    stop: Buffer<f32>,
    logits: Buffer<f32>,
    dice: Vec<Dice>,
    /// What each row draws, and its anchors.
    drawn: Vec<Drawn>,
}

/// One event in the making.
#[derive(Clone, Copy, Debug, Default)]
struct Drawn {
    /// Whether it is the last, whose step goes to the target.
    last: bool,
    classes: [usize; 3],
    /// Pixels, as far as x and y are drawn.
    step: [i32; 2],
    anchors: [Option<u16>; Y_ANCHORS],
}

impl Drawn {
    /// The anchors of the next head.
    fn look(&mut self, head: usize, place: &Place, codec: &StepCodec) {
        match head {
            0 => self.anchors[..X_ANCHORS].copy_from_slice(&place.x_anchors(codec)),
            1 => self.anchors = place.y_anchors(codec, self.step[0]),
            _ => {}
        }
    }
}

impl Walkers {
    /// z (B,S): the summaries, noise included.
    pub fn start(&mut self, walker: &Walker, w: &Weights<f32>, z: &[f32], rows: usize) {
        self.running.begin(&walker.lstm, w, z, rows);
    }

    /// One event of every row; none may have arrived.
    pub fn step(
        &mut self,
        walker: &Walker,
        w: &Weights<f32>,
        codec: &StepCodec,
        settings: &WalkSettings,
        walks: &mut [Walking],
    ) {
        self.x.clear();
        walks.iter().for_each(|walk| self.x.extend_from_slice(&walk.place.inputs(codec)));
        walker.trunk(w, self.running.step(&walker.lstm, w, &self.x), &mut self.trunk);
        walker.stop_logits(w, &self.trunk, &mut self.stop);
        self.dice.clear();
        self.dice.extend(walks.iter().map(|walk| Dice::throw(&walk.rng, walk.place.index)));
        let rolled = walks.iter().zip(&self.stop).zip(&self.dice);
        let begun = |((walk, &stop), Dice(dice)): ((&Walking, &f32), &Dice)| Drawn {
            last: is_last(&walk.place, stop, dice[0], settings, codec),
            ..Drawn::default()
        };
        self.drawn.clear();
        self.drawn.extend(rolled.map(begun));
        for head in 0..3 {
            for (drawn, walk) in self.drawn.iter_mut().zip(&*walks) {
                drawn.look(head, &walk.place, codec);
            }
            let anchors = self.drawn.iter().map(|drawn| drawn.anchors.as_slice());
            let buffers = (&mut self.gate, &mut self.active);
            walker.head_logits(w, head, &self.trunk, anchors, buffers, &mut self.logits);
            let temperature = if head < 2 { settings.step_temperature } else { settings.time_temperature };
            let (width, classes) = (walker.heads[head].width(), walker.heads[head].classes);
            for (row, logits) in self.logits.chunks_exact_mut(width).enumerate() {
                let (drawn, Dice(dice), logits) = (&mut self.drawn[row], self.dice[row], &mut logits[..classes]);
                // A recorder that reports only changes never reports no step at all.
                let still = head == 1 && !codec.repeats && drawn.classes[0] == codec.zero_class();
                let never = still.then(|| codec.zero_class());
                let landing = (drawn.last && head < 2).then(|| walks[row].place.left[head]);
                let class = match landing {
                    Some(left) => codec.step_class(left).into(),
                    None => choose(w.isa, logits, temperature, never, dice[1 + head]),
                };
                drawn.classes[head] = class;
                if head < 2 {
                    drawn.step[head] = landing.unwrap_or_else(|| codec.step(class, dice[4 + head]));
                }
            }
            if head < 2 {
                walker.add_embedding(w, head, self.drawn.iter().map(|d| d.classes[head]), &mut self.trunk);
            }
        }
        for ((walk, drawn), Dice(dice)) in walks.iter_mut().zip(&self.drawn).zip(&self.dice) {
            let [x, y] = shortened(drawn.step, settings.longest_step);
            walk.go(Event { x, y, ticks: codec.ticks(drawn.classes[2], dice[6]).max(1) }, codec);
            // Only a recorder that repeats positions has events at the target. (Of others' movements a few pass their end and
            // come back, 0.4 % of Balabit's: a walk that is there has ended.)
            let ended = drawn.last || !codec.repeats;
            walk.arrived = ended && walk.place.left == [0, 0] && walk.place.index >= FEWEST_EVENTS;
        }
    }

    /// Drops a row; the last one takes its place.
    pub fn swap_remove(&mut self, row: usize, rows: usize) {
        self.running.swap_remove(row, rows);
    }
}

/// Whether a walk's next event is its last, for the logit of that and a number in [0,1). Not where the last step would be longer
/// than recorded ones: a walk that has strayed from what its summary says would jump. And not at the target, which the first event
/// may have reached, where the recorder reports only changes.
fn is_last(place: &Place, logit: f32, unit: f64, settings: &WalkSettings, codec: &StepCodec) -> bool {
    if place.index + 2 >= settings.most_points {
        return true; // no room for more
    }
    let [x, y] = place.left.map(f64::from);
    let (last_x, last_y) = (f64::from(place.last.x), f64::from(place.last.y));
    let landing = codec.landing;
    let reach = if x * last_x + y * last_y > 0.0 { landing[0] * last_x.hypot(last_y) } else { landing[1] };
    let one_step = x.hypot(y) <= settings.longest_step.min(reach);
    let changes = codec.repeats || place.left != [0, 0];
    one_step && changes && place.index + 1 >= FEWEST_EVENTS && unit < 1.0 / (1.0 + (-f64::from(logit)).exp())
}

/// A step in the same direction of at most so many pixels (1 or more), but not 0 if it was not.
fn shortened([x, y]: [i32; 2], longest: f64) -> [i32; 2] {
    let length = f64::from(x).hypot(f64::from(y));
    if length <= longest {
        return [x, y];
    }
    match [x, y].map(|v| (f64::from(v) * longest / length) as i32) {
        [0, 0] if x.unsigned_abs() > y.unsigned_abs() => [x.signum(), 0],
        [0, 0] => [0, y.signum()],
        step => step,
    }
}

/// Draws a class with probability softmax(logits / temperature), but one that is never drawn, for a number in [0,1). The logits are
/// used up.
fn choose(isa: Isa, logits: &mut [f32], temperature: f64, never: Option<usize>, unit: f64) -> usize {
    if let Some(class) = never {
        logits[class] = f32::NEG_INFINITY;
    }
    if temperature != 1.0 {
        let most = logits.iter().fold(f32::NEG_INFINITY, |m, &x| m.max(x));
        logits.iter_mut().for_each(|x| *x = (f64::from(*x - most) / temperature) as f32);
    }
    math::softmax(isa, logits, 1.0);
    if let Some(class) = never {
        logits[class] = 0.0; // what is left of e^-infinity is a number
    }
    let mut left = unit * logits.iter().map(|&x| f64::from(x)).sum::<f64>();
    for (class, &weight) in logits.iter().enumerate() {
        left -= f64::from(weight);
        if left < 0.0 {
            return class;
        }
    }
    // Rounding left a little over: the likeliest class.
    let most = logits.iter().fold(0.0, |m: f32, &x| m.max(x));
    logits.iter().position(|&x| x == most).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, DecoderKind};
    use crate::eval::stats::correlation;
    use crate::nn::Layout;

    /// Three wide classes of |step| and of time, and a walker with weights of this size.
    fn walker(size: f32) -> (Walker, Weights<f32>, StepCodec, Config) {
        let base =
            Config { decoder: DecoderKind::ClosedLoop, step_magnitudes: 3, tick_classes: 3, ..Config::default() };
        let c = Config { expander_hidden_dim: 4, summary_dim: 2, ..base };
        let mut layout = Layout::default();
        let walker = Walker::new(&mut layout, &c);
        let (params, _) = layout.initialise::<f32>(1);
        let w = Weights::new(Isa::detect(), &layout, params.iter().map(|x| size * x).collect());
        let edges = vec![0, 1000, 2000, 3000];
        let (step_edges, tick_edges) = (edges.clone(), edges);
        let codec = StepCodec {
            tick_ms: 1.0,
            step_edges,
            tick_edges,
            repeats: true,
            per_ms: 0,
            spans_ms: vec![],
            landing: [3.0; 2],
        };
        (walker, w, codec, c)
    }

    /// So many events of so many walks to one target far away.
    fn events(rows: u64, count: usize, size: f32, [step_temperature, time_temperature]: [f64; 2]) -> Vec<Vec<Event>> {
        let (walker, w, codec, c) = walker(size);
        let longest_step = f64::INFINITY;
        let settings = WalkSettings { step_temperature, time_temperature, most_points: usize::MAX, longest_step };
        let mut walks: Vec<_> = (0..rows).map(|i| Walking::new([1 << 29; 2], 5, i, count)).collect();
        let mut walkers = Walkers::default();
        walkers.start(&walker, &w, &vec![0.0; walks.len() * c.summary_dim], walks.len());
        let mut seen = vec![Vec::new(); walks.len()];
        for _ in 0..count {
            walkers.step(&walker, &w, &codec, &settings, &mut walks);
            seen.iter_mut().zip(&walks).for_each(|(seen, walk)| seen.push(walk.place.last));
        }
        seen
    }

    /// Which class, and where in it: of x, of y and of time, of an event and of the next, none says anything of another.
    #[test]
    fn all_that_is_drawn_is_independent() {
        let walk = &events(1, 6000, 0.0, [1.0; 2])[0];
        let parts = |v: i32| [f64::from(v / 1000), if v == 0 { 499.5 } else { f64::from(v.abs() % 1000) }];
        let parts = |e: &Event| [parts(e.x), parts(e.y), parts(e.ticks as i32)].concat();
        let drawn: Vec<Vec<f64>> = walk.windows(2).map(|pair| [parts(&pair[0]), parts(&pair[1])].concat()).collect();
        let column = |k: usize| drawn.iter().map(|row| row[k]).collect::<Vec<f64>>();
        for i in 0..6 {
            for j in i + 1..12 {
                let found = correlation(&column(i), &column(j));
                assert!(found.abs() < 0.06, "{i} and {j}: {found}");
            }
        }
    }

    /// Near 0 one of them leaves no choice where the other still does.
    #[test]
    fn steps_and_times_have_temperatures_of_their_own() {
        let kinds = |temperatures| {
            let first: Vec<Event> = events(64, 1, 1.0, temperatures).into_iter().map(|walk| walk[0]).collect();
            let count = |mut of: Vec<i32>| {
                of.sort_unstable();
                of.dedup();
                of.len()
            };
            let classes = |of: fn(&Event) -> i32| count(first.iter().map(|e| of(e) / 1000).collect());
            [classes(|e| e.x), classes(|e| e.y), classes(|e| e.ticks as i32)]
        };
        let ([x, y, _], [.., time]) = (kinds([1e-9, 1.0]), kinds([1.0, 1e-9]));
        assert_eq!([x, y, time], [1, 1, 1]);
        assert!(kinds([1e-9, 1.0])[2] > 1 && kinds([1.0, 1e-9])[0] > 1);
    }

    /// Where only changes are recorded no step stands still, and a walk ends when it is at its target; where positions are repeated
    /// it ends when it was drawn to. Neither jumps there at once.
    #[test]
    fn a_walk_ends_as_its_recorder_would() {
        let (walker, w, codec, c) = walker(0.0);
        let longest_step = f64::INFINITY;
        let (temperature, most_points) = (1.0, 1000);
        let settings =
            WalkSettings { step_temperature: temperature, time_temperature: temperature, most_points, longest_step };
        for repeats in [false, true] {
            let codec = StepCodec { repeats, step_edges: vec![0, 1, 2, 3], ..codec.clone() };
            let (mut at_once, mut still, mut waited) = (0, 0, 0);
            for sample in 0..400 {
                let mut walk = vec![Walking::new([1, 2], 5, sample, 1000)];
                let mut walkers = Walkers::default();
                walkers.start(&walker, &w, &vec![0.0; c.summary_dim], 1);
                while !walk[0].arrived {
                    walkers.step(&walker, &w, &codec, &settings, &mut walk);
                    let Place { left, index, last, .. } = walk[0].place;
                    let there = left == [0, 0];
                    at_once += usize::from(index == 1 && there);
                    still += usize::from((last.x, last.y) == (0, 0));
                    waited += usize::from(index > 1 && there && !walk[0].arrived);
                    assert!(!walk[0].arrived || (there && index > 1));
                }
            }
            // Of 25 steps one leads to the target, and of those that are drawn one in 25 stands still.
            assert!(at_once < 40, "{at_once} of 400 at once");
            assert_eq!((waited > 0, still > 0), (repeats, repeats), "{waited} {still}");
        }
    }

    #[test]
    fn a_walk_that_is_aimed_anew_has_another_way_to_go() {
        let (.., codec, _) = walker(0.0);
        let mut walk = Walking::new([30, 40], 1, 0, 9);
        assert_eq!(walk.place.distance, 50.0);
        walk.go(Event { x: 5, y: 1, ticks: 1 }, &codec);
        walk.aim([3, -4]);
        assert_eq!((walk.place.left, walk.place.distance, walk.arrived), ([-2, -5], 5.0, false));
        walk.aim([5, 1]);
        assert!(!walk.arrived, "of two points");
        walk.go(Event { ticks: 1, ..Event::default() }, &codec);
        walk.aim([5, 1]);
        assert!(walk.arrived);
    }

    /// What goes on in its direction reaches so many times as far, what turns by 90 degrees or more so many pixels; no further than
    /// a step may be, and not before the second event.
    #[test]
    fn the_last_step_is_within_reach() {
        let codec = StepCodec { landing: [2.0, 9.0], ..walker(0.0).2 };
        let open = WalkSettings { step_temperature: 1.0, time_temperature: 1.0, most_points: 99, longest_step: 99.0 };
        let lands = |left: [i32; 2], [x, y]: [i32; 2], index: usize, settings: &WalkSettings| {
            let place = Place { left, last: Event { x, y, ticks: 1 }, index, ..Place::default() };
            is_last(&place, 20.0, 0.5, settings, &codec)
        };
        assert_eq!(
            [[20, 0], [21, 0], [12, 16], [1, 20]].map(|left| lands(left, [10, 0], 5, &open)),
            [true, false, true, false]
        );
        assert_eq!([[0, 9], [0, 10], [-9, 0]].map(|left| lands(left, [10, 0], 5, &open)), [true, false, true]);
        assert_eq!([0, 1].map(|index| lands([9, 0], [0, 0], index, &open)), [false, true]);
        assert!(!lands([20, 0], [10, 0], 5, &WalkSettings { longest_step: 19.0, ..open }));
        assert!(!is_last(&Place { left: [1, 0], index: 5, ..Place::default() }, -20.0, 0.5, &open, &codec), "unlikely");
        // Where there is room for one more point, whatever is left.
        assert_eq!([96, 97].map(|index| lands([5000, 0], [1, 0], index, &open)), [false, true]);
    }

    #[test]
    fn steps_are_shortened() {
        assert_eq!(shortened([30, -40], 50.0), [30, -40]);
        assert_eq!(shortened([30, -40], 5.0), [3, -4]);
        assert_eq!(shortened([-7, 8], 1.2), [0, 1]);
        assert_eq!(shortened([i32::MIN, 0], 1.2), [-1, 0]);
    }

    #[test]
    fn classes_are_drawn_in_proportion() {
        let (isa, logits) = (Isa::detect(), [0.0, 2f32.ln(), 9.0, 5f32.ln()]);
        let draw = |temperature, unit| choose(isa, &mut logits.clone(), temperature, Some(2), unit);
        let mut counts = [0; 4];
        (0..8000).for_each(|i| counts[draw(1.0, (f64::from(i) + 0.5) / 8000.0)] += 1);
        assert_eq!(counts, [1000, 2000, 0, 5000]);
        assert_eq!(draw(0.01, 0.5), 3);
        // Neither end of what is drawn from leads to what is never drawn.
        assert_eq!([0.0, 1.0 - 1e-17].map(|unit| choose(isa, &mut [9.0, 0.0, 9.0], 1.0, Some(0), unit)), [1, 2]);
        assert_eq!(choose(isa, &mut [9.0, 0.0], 1.0, Some(0), 1.0 - 1e-17), 1);
    }
}
