//! Events and profiles of the closed-loop decoder, made up.

use trajgan::backend::cpu::Real;
use trajgan::config::Config;
use trajgan::data::steps::Classes;
use trajgan::nn::Layout;
use trajgan::rng::{Rng, Stream};

/// Any classes, a third of the anchors missing.
pub fn random(rng: &mut Rng, c: &Config) -> Classes {
    let mut class = |count: usize| rng.below(count) as u16;
    let steps = 2 * c.step_magnitudes - 1;
    let (x, y, ticks) = (class(steps), class(steps), class(c.tick_classes));
    let mut anchor = |()| (class(3) > 0).then(|| class(steps));
    Classes { x, y, ticks, x_anchors: [(); 2].map(&mut anchor), y_anchors: [(); 4].map(anchor) }
}

/// Profiles begin as zeros, which would hide what they do.
pub fn fill_profiles<R: Real>(layout: &Layout, params: &mut [R]) {
    let mut rng = Rng::new(5, Stream::Evaluation, 5);
    let entries = layout.entries.iter().filter(|entry| entry.name.contains("profiles"));
    entries.for_each(|entry| params[entry.range()].fill_with(|| R::from_f64(0.3 * rng.normal())));
}
