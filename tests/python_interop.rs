//! Model files to and from PyTorch, where a Python has torch and safetensors ($TRAJGAN_PYTHON or python3) and the
//! reference implementation is there (../shared/oracle).

mod common;
mod skip;

use std::path::Path;
use std::process::{Command, Stdio};

use common::{dataset, tiny, trained};
use trajgan::backend::cpu::Isa;
use trajgan::config::{Config, CriticKind, Expand, GeneratorKind, Pool};
use trajgan::files::{Tensor, TensorFile, Values};
use trajgan::model::Networks;
use trajgan::model::critic::CriticTrace;
use trajgan::model::generator::GeneratorTrace;
use trajgan::nn::Weights;
use trajgan::rng::{Rng, Stream};
use trajgan::{Device, Model};

/// Outputs lie in [-1,1] but for the scores: of the largest, float32 against float64.
const TOLERANCE: f32 = 2e-5;
const ROWS: usize = 5;
const STEPS: usize = 19;

fn python() -> Option<String> {
    let python = std::env::var("TRAJGAN_PYTHON").unwrap_or_else(|_| "python3".into());
    let probe = Command::new(&python).args(["-c", "import torch, safetensors"]).stderr(Stdio::null()).status();
    if !probe.is_ok_and(|status| status.success()) {
        skip::skipped(format_args!("{python} cannot import torch and safetensors (set TRAJGAN_PYTHON)"));
        return None;
    }
    if !Path::new(&oracle()).is_dir() {
        skip::skipped(format_args!("{} is not there", oracle()));
        return None;
    }
    Some(python)
}

fn oracle() -> String {
    concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/oracle").into()
}

fn configs() -> Vec<Config> {
    let other = Config {
        pool_type: Pool::Hybrid,
        expand_type: Expand::Mlp,
        generator_type: GeneratorKind::Film,
        discriminator_type: CriticKind::Multiscale,
        ..tiny()
    };
    let third = Config {
        pool_type: Pool::Last,
        expand_type: Expand::Repeat,
        discriminator_type: CriticKind::Projection,
        discriminator_use_spectral_norm: false,
        ..tiny()
    };
    vec![tiny(), other, third]
}

struct Inputs {
    x: Vec<Vec<f32>>,
    z: Vec<f32>,
    noise: Vec<f32>,
    condition: Vec<f32>,
}

impl Inputs {
    fn new(c: &Config, path: &Path) -> Inputs {
        let mut rng = Rng::new(4, Stream::Evaluation, 0);
        let mut draw = |n: usize| (0..n).map(|_| rng.range(-1.0, 1.0) as f32).collect::<Vec<f32>>();
        let lengths: Vec<usize> = (0..ROWS).map(|i| STEPS - 3 * i).collect();
        let x: Vec<Vec<f32>> = lengths.iter().map(|n| draw(n * c.feature_dim)).collect();
        let (z, noise) = (draw(ROWS * c.summary_dim), draw(ROWS * c.noise_dim));
        let condition = draw(ROWS * c.condition_dim);
        let mut file = TensorFile::default();
        let mut put = |name: &str, shape: &[usize], values| {
            file.tensors.insert(name.into(), Tensor { shape: shape.to_vec(), values });
        };
        let mut padded = x.clone();
        padded.iter_mut().for_each(|row| row.resize(STEPS * c.feature_dim, 0.0));
        put("x", &[ROWS, STEPS, c.feature_dim], Values::F32(padded.concat()));
        put("lengths", &[ROWS], Values::I64(lengths.iter().map(|&n| n as i64).collect()));
        put("z", &[ROWS, c.summary_dim], Values::F32(z.clone()));
        put("noise", &[ROWS, c.noise_dim], Values::F32(noise.clone()));
        put("condition", &[ROWS, c.condition_dim], Values::F32(condition.clone()));
        file.write(path, false).unwrap();
        Inputs { x, z, noise, condition }
    }
}

fn run_python(python: &str, c: &Config, folder: &Path, weights: Option<&Path>) -> TensorFile {
    let mut command = Command::new(python);
    command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/python/interop.py")).arg(oracle());
    command.arg(serde_json::to_string(c).unwrap()).arg(folder.join("inputs.safetensors")).arg(folder).args(weights);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    TensorFile::read(&folder.join("outputs.safetensors")).unwrap()
}

/// Our outputs, from what the model gives by name alone.
fn check(model: &Model, inputs: &Inputs, expected: &TensorFile) {
    let c = model.config();
    let z = ndarray::ArrayView2::from_shape((ROWS, c.summary_dim), &inputs.z).unwrap();
    let encoded = model.encode_features(&inputs.x, 2).unwrap();
    close("encoded", encoded.as_slice().unwrap(), expected);
    close("decoded", &model.decode_features(z, &[STEPS; ROWS], 2).unwrap().concat(), expected);

    let networks = Networks::new(c);
    let gather = |entries: &[trajgan::nn::params::Entry]| -> Vec<f32> {
        entries.iter().flat_map(|e| model.tensor(&e.name).unwrap().1.to_vec()).collect()
    };
    let mut buffers = gather(&networks.layout.buffers);
    let w = Weights::new(Isa::detect(), &networks.layout, gather(&networks.layout.entries));
    let mut generator = GeneratorTrace::default();
    networks.generator.forward(&w, &inputs.noise, &inputs.condition, &mut generator);
    close("generated", &generator.z, expected);
    let norms = networks.critic.normalise(&w.params, &mut buffers, false, 1);
    let mut critic = CriticTrace::default();
    networks.critic.forward(&w, &norms, &inputs.z, &inputs.condition, &mut critic);
    close("scores", &critic.score, expected);
}

fn close(what: &str, got: &[f32], expected: &TensorFile) {
    let Values::F32(expected) = &expected.tensors[what].values else { panic!("{what}: type") };
    assert_eq!(got.len(), expected.len(), "{what}");
    let largest = expected.iter().fold(0f32, |m, x| m.max(x.abs()));
    for (i, (a, b)) in got.iter().zip(expected).enumerate() {
        assert!((a - b).abs() <= TOLERANCE * largest, "{what}[{i}] is {a}, PyTorch's {b}");
    }
}

#[test]
fn a_state_dict_of_pytorch_gives_the_same_outputs_here() {
    let Some(python) = python() else { return };
    for c in configs() {
        let folder = tempfile::tempdir().unwrap();
        let inputs = Inputs::new(&c, &folder.path().join("inputs.safetensors"));
        let expected = run_python(&python, &c, folder.path(), None);
        let model = Model::import(&folder.path().join("weights.safetensors"), c, Device::Cpu).unwrap();
        check(&model, &inputs, &expected);
    }
}

#[test]
fn our_file_gives_the_same_outputs_in_pytorch() {
    let Some(python) = python() else { return };
    let data = dataset(60, 3);
    for c in configs() {
        let folder = tempfile::tempdir().unwrap();
        let inputs = Inputs::new(&c, &folder.path().join("inputs.safetensors"));
        let model = trained(&c, &data, 1);
        let path = folder.path().join("m.safetensors");
        model.save(&path).unwrap();
        check(&model, &inputs, &run_python(&python, &c, folder.path(), Some(&path)));
        model.export(&path, false).unwrap();
        check(&model, &inputs, &run_python(&python, &c, folder.path(), Some(&path)));
    }
}
