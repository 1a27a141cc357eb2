//! A head of the closed-loop decoder: logits of classes, and learnt profiles around anchors.
//!
//! Where a hand goes on as before, the class of its next step is near that of the last, whichever that is. A product of
//! weights must learn this for each class; here it is learnt once. With a (K) what the head sees and anchors as in
//! `data::steps::Place`:
//! logits_c = (A a + b)_c + sum over k of (G a + b')_k P_k(c - anchor of k),
//! where every anchor has as many k. (T5's relative position biases, Raffel et al., JMLR 2020, chosen by what is seen.)

use std::ops::Range;

use crate::backend::cpu::{Real, math};
use crate::nn::params::{Initial, Matrix};
use crate::nn::{Gradients, Layout, Linear, Weights};

#[derive(Clone, Copy, Debug)]
pub struct Head {
    /// A above G, (classes + gates, K): one product makes a row of logits with the gates behind them.
    pub linear: Linear,
    pub classes: usize,
    profiles: Option<Profiles>,
}

/// P (gates, 2 classes - 1): by difference, which is 0 in the middle.
#[derive(Clone, Copy, Debug)]
struct Profiles {
    table: Matrix,
    /// Of every anchor.
    each: usize,
}

impl Head {
    /// profiles: of every anchor.
    pub fn new(
        layout: &mut Layout,
        name: &str,
        inputs: usize,
        classes: usize,
        anchors: usize,
        profiles: usize,
    ) -> Head {
        let gates = anchors * profiles;
        let linear = Linear::new(layout, &format!("walker.head_{name}"), inputs, classes + gates);
        let profiles = (gates > 0).then(|| {
            let name = format!("walker.profiles_{name}.weight");
            Profiles { table: layout.matrix(name, gates, 2 * classes - 1, Initial::Zeros), each: profiles }
        });
        Head { linear, classes, profiles }
    }

    /// Table of the profiles, and how many every anchor has.
    #[cfg(feature = "cuda")]
    pub(crate) fn profiles(&self) -> Option<(Matrix, usize)> {
        self.profiles.map(|profiles| (profiles.table, profiles.each))
    }

    /// Numbers of a row.
    pub fn width(&self) -> usize {
        self.linear.weight.outputs
    }

    /// Rows (N,width) as `linear` made them: the logits get what the gates let through.
    pub fn add_profiles<'a, R: Real>(
        &self,
        w: &Weights<R>,
        rows: &mut [R],
        anchors: impl Iterator<Item = &'a [Option<u16>]>,
    ) {
        let Some(profiles) = self.profiles else { return };
        for (row, anchors) in rows.chunks_exact_mut(self.width()).zip(anchors) {
            let (logits, gates) = row.split_at_mut(self.classes);
            for (k, &gate) in gates.iter().enumerate() {
                if let Some(anchor) = anchors[k / profiles.each] {
                    math::axpy(w.isa, gate, &w.params[profiles.around(k, anchor, self.classes)], logits);
                }
            }
        }
    }

    /// Rows of gradients of the logits, with the gates behind them: these become their gradients, and those of the
    /// profiles are added to grads.
    pub fn profiles_backward<'a, R: Real>(
        &self,
        w: &Weights<R>,
        rows: &mut [R],
        anchors: impl Iterator<Item = &'a [Option<u16>]>,
        grads: &mut Gradients<R>,
    ) {
        let Some(profiles) = self.profiles else { return };
        let grads = grads.of(&profiles.table);
        for (row, anchors) in rows.chunks_exact_mut(self.width()).zip(anchors) {
            let (dlogits, gates) = row.split_at_mut(self.classes);
            for (k, gate) in gates.iter_mut().enumerate() {
                let Some(anchor) = anchors[k / profiles.each] else {
                    *gate = R::ZERO;
                    continue;
                };
                let here = profiles.around(k, anchor, self.classes);
                math::axpy(w.isa, *gate, dlogits, &mut grads[here.clone()]);
                math::row_products(w.isa, dlogits, &w.params[here], std::slice::from_mut(gate));
            }
        }
    }
}

impl Profiles {
    /// Where in an arena the part of profile k is that meets the logits, for an anchor.
    fn around(&self, k: usize, anchor: u16, classes: usize) -> Range<usize> {
        let start = self.table.offset + k * self.table.stride + classes - 1 - usize::from(anchor);
        start..start + classes
    }
}
