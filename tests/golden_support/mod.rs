//! Cases of stored reference numbers, and the one table of tolerances that every backend is held to.
#![allow(dead_code)] // each test uses part of it

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use safetensors::{Dtype, SafeTensors};
use trajgan::backend::cpu::Isa;
use trajgan::config::Config;
use trajgan::model::Networks;
use trajgan::nn::{Steps, Weights};
use trajgan::train::shards::SequenceShard;
use trajgan::train::stage2::GanBatch;

/// Of the tensor's largest magnitude. PyTorch itself stays within 6e-5 for weights after training.
pub const OUTPUT: f64 = 2e-5;
pub const GRADIENT: f64 = 1e-4;
pub const WEIGHT: f64 = 2e-4;
/// Of the case's largest gradient: some are zero in exact arithmetic.
pub const GRADIENT_FLOOR: f64 = 1e-6;

pub struct Tensor {
    pub shape: Vec<usize>,
    pub data: Vec<f32>,
}

pub struct Case {
    pub name: String,
    pub note: String,
    pub config: Config,
    pub tensors: BTreeMap<String, Tensor>,
    pub isa: Isa,
    pub worst: BTreeMap<&'static str, f64>,
}

impl Case {
    pub fn read(path: &Path, isa: Isa) -> Option<Case> {
        let bytes = std::fs::read(path).unwrap();
        let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
        let metadata = header.metadata().clone().unwrap();
        let config: Config = serde_json::from_str(metadata.get("config")?).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let tensors = file.tensors().into_iter().map(|(name, view)| {
            let words = view.data().chunks_exact(4).map(|w| [w[0], w[1], w[2], w[3]]);
            let data = match view.dtype() {
                Dtype::F32 => words.map(f32::from_le_bytes).collect(),
                Dtype::I32 => words.map(|w| i32::from_le_bytes(w) as f32).collect(),
                other => panic!("{name} is {other:?}"),
            };
            (name, Tensor { shape: view.shape().to_vec(), data })
        });
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let note = metadata["note"].clone();
        Some(Case { name, note, config, tensors: tensors.collect(), isa, worst: BTreeMap::new() })
    }

    pub fn get(&self, name: &str) -> &[f32] {
        &self.tensors.get(name).unwrap_or_else(|| panic!("{}: no {name}", self.name)).data
    }

    pub fn shape(&self, name: &str) -> &[usize] {
        &self.tensors[name].shape
    }

    pub fn lengths(&self, name: &str) -> Vec<usize> {
        self.get(name).iter().map(|&n| n as usize).collect()
    }

    pub fn group(&self, prefix: &str) -> Vec<(String, Vec<f32>)> {
        let of_prefix = self.tensors.iter().filter_map(|(name, t)| Some((name.strip_prefix(prefix)?, t)));
        of_prefix.map(|(name, t)| (name.to_string(), t.data.clone())).collect()
    }

    /// The batch of a step of stage 2, whose names in the case begin so.
    pub fn gan_batch(&self, prefix: &str) -> GanBatch {
        let get = |name: &str| self.tensors.get(&format!("{prefix}{name}")).map_or(Vec::new(), |t| t.data.clone());
        GanBatch { z_real: get("z_real"), condition: get("condition"), noise: get("noise"), alpha: get("alpha") }
    }

    /// Networks, with the parameters and buffers that the case brings.
    pub fn networks(&self) -> (Networks, Weights<f32>, Vec<f32>) {
        let networks = Networks::new(&self.config);
        let (mut params, mut buffers) = networks.layout.initialise::<f32>(1);
        let mut known = 0;
        for (entries, arena) in [(&networks.layout.entries, &mut params), (&networks.layout.buffers, &mut buffers)] {
            for entry in entries {
                let Some(tensor) = self.tensors.get(&format!("param/{}", entry.name)) else { continue };
                assert_eq!(tensor.shape, entry.shape, "{}: {}", self.name, entry.name);
                arena[entry.range()].copy_from_slice(&tensor.data);
                known += 1;
            }
        }
        assert_eq!(known, self.group("param/").len(), "{}: a tensor that the model lacks", self.name);
        let weights = Weights::new(self.isa, &networks.layout, params);
        (networks, weights, buffers)
    }

    pub fn check(&mut self, kind: &'static str, what: &str, got: &[f32], expected: &[f32], relative: f64, floor: f64) {
        assert_eq!(got.len(), expected.len(), "{}: {what}", self.name);
        let largest = expected.iter().fold(0f64, |m, &x| m.max(f64::from(x.abs())));
        let error = got.iter().zip(expected).map(|(&a, &b)| f64::from((a - b).abs())).fold(0.0, f64::max);
        assert!(got.iter().all(|x| x.is_finite()), "{}: {what} is not finite", self.name);
        assert!(error <= relative * largest + floor, "{}: {what} is off by {error:e} of {largest:e}", self.name);
        let worst = self.worst.entry(kind).or_default();
        *worst = worst.max((error - floor).max(0.0) / largest.max(1e-30));
    }

    pub fn check_output(&mut self, what: &str, got: &[f32]) {
        let expected = self.get(what).to_vec();
        self.check("output", what, got, &expected, OUTPUT, 0.0);
    }

    pub fn check_loss(&mut self, what: &str, got: f64) {
        let expected = self.get(what).to_vec();
        self.check("loss", what, &[got as f32], &expected, OUTPUT, 1e-7);
    }

    /// All gradients of the case: by parameter from the arena, by input from the list.
    pub fn check_gradients(&mut self, networks: &Networks, grads: &[f32], inputs: &[(&str, &[f32])]) {
        let expected = self.group("grad/");
        let largest = expected.iter().flat_map(|(_, g)| g).fold(0f64, |m, &g| m.max(f64::from(g.abs())));
        for (name, expected) in expected {
            let got = match networks.layout.entries.iter().find(|e| e.name == name) {
                Some(entry) => &grads[entry.range()],
                None => {
                    inputs.iter().find(|i| i.0 == name).unwrap_or_else(|| panic!("{}: gradient of {name}", self.name)).1
                }
            };
            self.check("gradient", &name, got, &expected, GRADIENT, GRADIENT_FLOOR * largest);
        }
    }

    pub fn check_after(&mut self, networks: &Networks, params: &[f32], buffers: &[f32]) {
        for (name, expected) in self.group("after/") {
            let find =
                |entries: &[trajgan::nn::params::Entry]| entries.iter().find(|e| e.name == name).map(|e| e.range());
            let got = match (find(&networks.layout.entries), find(&networks.layout.buffers)) {
                (Some(range), _) => &params[range],
                (None, Some(range)) => &buffers[range],
                (None, None) => panic!("{}: no tensor {name}", self.name),
            };
            self.check("weight", &name, got, &expected, WEIGHT, 0.0);
        }
    }
}

/// Rows by length, longest first, and their packing.
pub struct Packing {
    order: Vec<usize>,
    pub steps: Steps,
    seq_len: usize,
}

impl Packing {
    pub fn new(lengths: &[usize], seq_len: usize) -> Packing {
        let mut order: Vec<usize> = (0..lengths.len()).collect();
        order.sort_by_key(|&i| std::cmp::Reverse(lengths[i]));
        let sorted: Vec<usize> = order.iter().map(|&i| lengths[i]).collect();
        Packing { order, steps: Steps::new(&sorted), seq_len }
    }

    pub fn seq_lens(&self) -> Vec<usize> {
        vec![self.seq_len; self.order.len()]
    }

    pub fn rows<T: Copy>(&self, x: &[T]) -> Vec<T> {
        let width = x.len() / self.order.len();
        self.order.iter().flat_map(|&i| &x[i * width..(i + 1) * width]).copied().collect()
    }

    pub fn rows_back(&self, x: &[f32]) -> Vec<f32> {
        let width = x.len() / self.order.len();
        let mut out = vec![0.0; x.len()];
        for (from, &i) in x.chunks(width).zip(&self.order) {
            out[i * width..(i + 1) * width].copy_from_slice(from);
        }
        out
    }

    pub fn pack(&self, x: &[f32], width: usize) -> Vec<f32> {
        let rows = self.rows(x);
        self.places().flat_map(|(t, b)| &rows[(b * self.seq_len + t) * width..][..width]).copied().collect()
    }

    /// Padding gets a row of its own.
    pub fn unpack(&self, packed: &[f32], padding: &[f32]) -> Vec<f32> {
        let mut x = padding.repeat(self.order.len() * self.seq_len);
        for ((t, b), from) in self.places().zip(packed.chunks_exact(padding.len())) {
            x[(b * self.seq_len + t) * padding.len()..][..padding.len()].copy_from_slice(from);
        }
        self.rows_back(&x)
    }

    /// Steps and rows in the order of a packed tensor.
    fn places(&self) -> impl Iterator<Item = (usize, usize)> {
        (0..self.steps.len()).flat_map(|t| (0..self.steps.running(t)).map(move |b| (t, b)))
    }

    /// A batch of one shard, with x (B,T,width); empty for none.
    pub fn shard(&self, x: &[f32], width: usize) -> SequenceShard {
        let x = if x.is_empty() { Vec::new() } else { self.pack(x, width) };
        SequenceShard { first_row: 0, steps: self.steps.clone(), x, classes: Vec::new(), seq_lens: self.seq_lens() }
    }
}

/// Where cases are: the folder in TRAJGAN_GOLDEN, or ours and, when it is there, the shared one.
pub fn folders() -> Vec<PathBuf> {
    if let Some(folder) = std::env::var_os("TRAJGAN_GOLDEN") {
        return vec![folder.into()];
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let shared = root.join("../shared/golden");
    if !shared.is_dir() {
        crate::skip::skipped(format_args!("{} is not there", shared.display()));
    }
    [root.join("tests/golden"), root.join("tests/golden/odd"), shared].into_iter().filter(|f| f.is_dir()).collect()
}
