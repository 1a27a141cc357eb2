//! Model files of every format that was ever released load for ever, as the models they were; and no damage to one gets
//! through. tests/formats/N_*.safetensors are of format N, beside them what the models made when they were written.
//! With TRAJGAN_BLESS files that are missing are made; one that is there is never written again.

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::{assert_same, contents, dataset, options, tiny, tiny_closed_loop, trained};
use serde_json::{Value, json};
use trajgan::config::{Config, DecoderKind};
use trajgan::files::TensorFile;
use trajgan::{Control, Device, Model, Movement, SampleOptions, Stage};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/formats")
}

/// As small as models get, so that the files are, too.
fn small(config: Config) -> Config {
    Config {
        encoder_hidden_dim: 4,
        encoder_num_layers: 1,
        decoder_hidden_dim: 4,
        decoder_num_layers: 1,
        latent_dim: 4,
        summary_dim: 4,
        expander_hidden_dim: 4,
        expander_num_layers: 1,
        step_magnitudes: 12,
        tick_classes: 4,
        noise_dim: 2,
        generator_hidden_dims: vec![5],
        discriminator_hidden_dims: vec![4],
        batch_size: 16,
        ..config
    }
}

/// Names of format 1 and the models in them. The first closed loop is of the time before there were profiles.
fn models() -> [(&'static str, Config); 3] {
    let average = Config { generator_average: 0.5, ..tiny() };
    let profiles = Config { candidates: 2, ..tiny_closed_loop() };
    let plain = Config { step_profiles: 0, ..profiles.clone() };
    [("1_v6", small(average)), ("1_closed_loop", small(plain)), ("1_closed_loop_profiles", small(profiles))]
}

fn draw(model: &Model) -> Vec<Movement> {
    model.generate(5, None, &SampleOptions { seed: 3, ..SampleOptions::default() }).unwrap()
}

fn drawn(model: &Model) -> Value {
    let points = |m: &Movement| m.points.iter().map(|p| json!([p.x, p.y, p.t_ms])).collect::<Vec<_>>();
    json!(draw(model).iter().map(points).collect::<Vec<_>>())
}

fn make(path: &Path, config: &Config) {
    // Of fewer a closed loop does not learn to choose.
    let recordings = if config.decoder == DecoderKind::V6 { 24 } else { 400 };
    let model = trained(config, &dataset(recordings, 3), 1);
    model.save(path).unwrap();
    fs::write(path.with_extension("json"), format!("{}\n", drawn(&model))).unwrap();
}

/// px and ms. v6: other instruction sets add in another order. closed-loop: whole numbers, the same everywhere unless a
/// draw falls within rounding of the edge of a class.
const TOLERANCE: f64 = 0.01;

#[test]
fn old_files_load_and_are_the_models_that_they_were() {
    for (name, config) in models() {
        let path = folder().join(format!("{name}.safetensors"));
        if !path.exists() && std::env::var_os("TRAJGAN_BLESS").is_some() {
            make(&path, &config);
        }
        let mut model = Model::load(&path, Device::Cpu).unwrap();
        assert_eq!(model.config().decoder == DecoderKind::V6, name == "1_v6");
        assert_eq!(model.candidates(), if name == "1_v6" { 1 } else { 2 });
        assert_eq!((model.config().latent_dim, model.stages()[0].iteration, model.stages()[1].iteration), (4, 8, 6));
        let expected: Vec<Vec<[f64; 3]>> =
            serde_json::from_slice(&fs::read(path.with_extension("json")).unwrap()).unwrap();
        let got = draw(&model);
        for (i, (got, expected)) in got.iter().zip(&expected).enumerate() {
            assert_eq!(got.points.len(), expected.len(), "{name}, movement {i}");
            for (p, e) in got.points.iter().zip(expected) {
                let apart = [p.x - e[0], p.y - e[1], p.t_ms - e[2]].map(f64::abs);
                assert!(apart.iter().all(|d| *d <= TOLERANCE), "{name}, movement {i}: {p:?}, expected {e:?}");
            }
        }
        // It goes on training where it was.
        let more = Config { stage2_iterations: 7, ..model.config().clone() };
        let data = dataset(24, 3);
        let outcome = model.train(&data, Stage::Gan, &options(&more, 1), &mut |_, _| Control::Continue).unwrap();
        assert_eq!(outcome.iterations, 7);
    }
}

/// Truncations and flipped bits all over the file: files.rs tries all of them on a smaller one.
#[test]
fn no_damage_to_a_model_file_gets_through() {
    let path = folder().join("1_v6.safetensors");
    let mut bytes = fs::read(&path).unwrap();
    let good = Model::load(&path, Device::Cpu).unwrap();
    let read = |bytes: &[u8]| TensorFile::from_bytes(&path, bytes);
    for at in (0..bytes.len()).step_by(61) {
        assert!(read(&bytes[..at]).is_err(), "the first {at} bytes");
        bytes[at] ^= 1 << (at % 8);
        assert!(read(&bytes).is_err(), "byte {at}, bit {}", at % 8);
        bytes[at] ^= 1 << (at % 8);
    }
    let folder = tempfile::tempdir().unwrap();
    let whole = folder.path().join("m.safetensors");
    fs::write(&whole, &bytes).unwrap();
    assert_same(&contents(&good), &contents(&Model::load(&whole, Device::Cpu).unwrap()), "undamaged");
    // The door that models come through: the same file, and an error that names it.
    fs::write(&whole, &bytes[..bytes.len() - 1]).unwrap();
    assert!(Model::load(&whole, Device::Cpu).unwrap_err().to_string().contains("m.safetensors: "));
}
