//! The model file: round trips, and files that lie. The container's own tests are in files.rs.

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::{assert_same, contents, contents_of, dataset, tiny, tiny_closed_loop, trained};
use serde_json::{Value, json};
use tempfile::TempDir;
use trajgan::config::{Config, CriticKind, GeneratorKind};
use trajgan::files::{FORMAT_KEY, Tensor, TensorFile, Values};
use trajgan::{Device, Error, Model, SampleOptions};

/// A trained model's file, to be spoilt.
struct Spoiler {
    folder: TempDir,
    file: TensorFile,
    metadata: Value,
}

impl Spoiler {
    fn new(config: &Config) -> Spoiler {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("good.safetensors");
        trained(config, &dataset(60, 3), 1).save(&path).unwrap();
        Spoiler::of(folder, &path)
    }

    fn of(folder: TempDir, path: &Path) -> Spoiler {
        let file = TensorFile::read(path).unwrap();
        let metadata = serde_json::from_str(&file.metadata[FORMAT_KEY]).unwrap();
        Spoiler { folder, file, metadata }
    }

    fn write(&self, file: &TensorFile) -> PathBuf {
        let path = self.folder.path().join("bad.safetensors");
        file.write(&path, false).unwrap();
        path
    }

    /// Loading must fail, and say where and what.
    fn refused(&self, file: &TensorFile, expected: &[&str]) -> Error {
        let path = self.write(file);
        let error = Model::load(&path, Device::Cpu).expect_err(&format!("{expected:?}"));
        let message = error.to_string();
        for part in expected.iter().chain(&["bad.safetensors"]) {
            assert!(message.contains(part), "'{message}' does not name {part}");
        }
        error
    }

    fn with_metadata(&self, change: impl FnOnce(&mut Value)) -> TensorFile {
        let mut metadata = self.metadata.clone();
        change(&mut metadata);
        let mut file = self.file.clone();
        file.metadata.insert(FORMAT_KEY.into(), metadata.to_string());
        file
    }

    fn with_tensor(&self, name: &str, change: impl FnOnce(&mut Tensor)) -> TensorFile {
        let mut file = self.file.clone();
        change(file.tensors.get_mut(name).unwrap());
        file
    }
}

fn floats(tensor: &mut Tensor) -> &mut Vec<f32> {
    match &mut tensor.values {
        Values::F32(values) => values,
        other => panic!("{other:?}"),
    }
}

fn both() -> [Config; 2] {
    [Config { generator_average: 0.9, ..tiny() }, tiny_closed_loop()]
}

#[test]
fn a_saved_model_is_the_model() {
    for config in both() {
        let model = trained(&config, &dataset(60, 3), 1);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.safetensors");
        model.save(&path).unwrap();
        let bytes = fs::read(&path).unwrap();
        let back = Model::load(&path, Device::Cpu).unwrap();
        assert_same(&contents(&model), &contents(&back), "round trip");
        back.save(&path).unwrap();
        assert!(bytes == fs::read(&path).unwrap(), "the same model is the same bytes");
        assert_eq!((back.config(), back.stages(), back.data()), (model.config(), model.stages(), model.data()));
        let untrained = Model::new(config, Device::Cpu).unwrap();
        untrained.save(&path).unwrap();
        assert_same(&contents(&untrained), &contents(&Model::load(&path, Device::Cpu).unwrap()), "untrained");
    }
}

#[test]
fn an_exported_model_samples_the_same_and_has_no_training_state() {
    for config in both() {
        let model = trained(&config, &dataset(60, 3), 1);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.safetensors");
        model.export(&path, false).unwrap();
        assert!(contents_of(&path).keys().all(|name| !name.starts_with("train.")));
        let back = Model::load(&path, Device::Cpu).unwrap();
        let draw = |model: &Model| model.generate(20, None, &SampleOptions::default()).unwrap();
        assert_eq!(draw(&model), draw(&back));
        assert_eq!(back.stages()[1].iteration, model.stages()[1].iteration);
        assert!(back.stages().iter().all(|stage| stage.recent.is_empty() && stage.schedule.is_none()));

        let half = folder.path().join("half.safetensors");
        model.export(&half, true).unwrap();
        assert!(fs::metadata(&half).unwrap().len() * 10 < fs::metadata(&path).unwrap().len() * 7);
        let rounded = Model::load(&half, Device::Cpu).unwrap();
        assert_eq!(rounded.data(), back.data(), "what was learnt of the data is no weight");
        for name in contents_of(&path).keys().filter(|n| !n.starts_with("metadata") && !n.starts_with("data")) {
            let (a, b) = (back.tensor(name).unwrap(), rounded.tensor(name).unwrap());
            assert_eq!(a.0, b.0);
            for (a, b) in a.1.iter().zip(b.1) {
                // 11 significant bits, and 2^-24 between the smallest.
                assert!((a - b).abs() <= a.abs() * 2f32.powi(-11) + 2f32.powi(-25), "{name}: {a} became {b}");
            }
        }
        assert_eq!(draw(&rounded).len(), 20);
    }
}

#[test]
fn every_tensor_is_needed_with_its_shape_type_and_finite_numbers() {
    for config in both() {
        let good = Spoiler::new(&config);
        assert!(good.file.tensors.len() > 40);
        for name in good.file.tensors.keys() {
            let mut missing = good.file.clone();
            missing.tensors.remove(name);
            good.refused(&missing, &[name, "missing"]);
            good.refused(&good.with_tensor(name, |t| t.shape.push(1)), &[name, "shape"]);
            good.refused(&good.with_tensor(name, |t| floats(t)[0] = f32::NAN), &[name, "NaN"]);
            let last = |t: &mut Tensor| *floats(t).last_mut().unwrap() = f32::NEG_INFINITY;
            good.refused(&good.with_tensor(name, last), &[name, "-inf"]);
            let count = good.file.tensors[name].values.len();
            let wide = good.with_tensor(name, |t| t.values = Values::F64(vec![0.0; count]));
            good.refused(&wide, &[name, "floats"]);
        }
        let mut extra = good.file.clone();
        extra.tensors.insert("encoder.more".into(), Tensor { shape: vec![1], values: Values::F32(vec![0.0]) });
        good.refused(&extra, &["encoder.more", "unexpected"]);
        let negative = good.with_tensor("train.generator.v", |t| floats(t)[3] = -1.0);
        good.refused(&negative, &["train.generator.v", "number 3 is -1"]);
    }
}

#[test]
fn metadata_that_lies_is_refused() {
    let good = Spoiler::new(&tiny());
    let set = |pointer: &'static str, value: Value| {
        good.with_metadata(|m| *m.pointer_mut(pointer).unwrap_or_else(|| panic!("no {pointer}")) = value)
    };
    let mut none = good.file.clone();
    none.metadata.remove(FORMAT_KEY);
    good.refused(&none, &["metadata.trajgan", "missing"]);
    for text in ["", "{", "[]", "{\"format\":\"one\"}", "{\"format\":1}", "{\"format\":-1}"] {
        let mut file = good.file.clone();
        file.metadata.insert(FORMAT_KEY.into(), text.into());
        good.refused(&file, &["metadata.trajgan"]);
    }
    let newer = good.refused(&set("/format", json!(2)), &["newer", "2"]);
    assert!(matches!(newer, Error::Version { got: 2, newest: 1, .. }));
    let newer = good.refused(&set("/format", json!(u64::MAX)), &["newer"]);
    assert!(matches!(newer, Error::Version { .. }));

    let settings = [
        ("/config/latent_dim", json!(0), "config.latent_dim"),
        ("/config/latent_dim", json!(4_000_000_000u64), "config.latent_dim"),
        ("/config/generator_hidden_dims", json!([13, 0]), "config.generator_hidden_dims[1]"),
        ("/config/generator_hidden_dims", json!([]), "config.generator_hidden_dims"),
        ("/config/lr_autoencoder", json!(1e300), "config.lr_autoencoder"),
        ("/config/lambda_gp", json!(-1.0), "config.lambda_gp"),
        ("/config/lambda_gp", Value::Null, "metadata.trajgan"),
        ("/config/pool_type", json!("sum"), "sum"),
        ("/config/n_critic", json!(-3), "metadata.trajgan"),
        ("/config/decoder", json!("closed-loop"), ""),
        // Legal by themselves, but not what the tensors are.
        ("/config/latent_dim", json!(7), "encoder.linear"),
        ("/config/generator_type", json!("film"), "generator."),
        ("/config/discriminator_use_spectral_norm", json!(false), "discriminator."),
        ("/config/encoder_num_layers", json!(3), "encoder.lstm"),
        ("/config/encoder_num_layers", json!(1), "encoder."),
        ("/config/max_seq_len", json!(2), "length model"),
        ("/config/condition_dim", json!(2), ""),
    ];
    for (pointer, value, field) in settings {
        good.refused(&set(pointer, value), &[field]);
    }
    good.refused(&good.with_metadata(|m| m["config"]["unheard_of"] = json!(1)), &["unheard_of"]);
    // 16 layers of 4096 x 4096 would be gigabytes: refused before anything of that size is made.
    let bomb = good.with_metadata(|m| {
        for name in ["encoder_hidden_dim", "decoder_hidden_dim", "latent_dim", "expander_hidden_dim"] {
            m["config"][name] = json!(4096);
        }
        m["config"]["encoder_num_layers"] = json!(16);
    });
    good.refused(&bomb, &["config.parameters"]);
}

/// What chooses among walks.
#[test]
fn ratios_that_cannot_be_are_refused() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/formats/1_closed_loop.safetensors");
    let good = Spoiler::of(tempfile::tempdir().unwrap(), &path);
    let ratio = good.metadata["ratio"].clone();
    let set = |pointer: &str, value: Value| good.with_metadata(|m| *m["ratio"].pointer_mut(pointer).unwrap() = value);
    let tree = &ratio["trees"]["trees"][0];
    let cases = [
        ("/trees/trees", json!(vec![tree; 101]), "metadata.trajgan.ratio"),
        ("/trees/trees/0/splits/0", json!([75, 0.5]), "metadata.trajgan.ratio"),
        ("/trees/trees/0/splits/0", json!([-1, 0.5]), "metadata.trajgan"),
        ("/trees/trees/0/splits", json!([null]), "metadata.trajgan"),
        ("/trees/trees/0/leaves/7", Value::Null, "metadata.trajgan"),
        ("/trees/prior", Value::Null, "metadata.trajgan"),
    ];
    for (pointer, value, field) in cases {
        good.refused(&set(pointer, value), &[field]);
    }
    let v6 = Spoiler::new(&tiny());
    v6.refused(&v6.with_metadata(|m| m["ratio"] = ratio), &["metadata.trajgan.ratio", "one that walks"]);
}

#[test]
fn data_and_stages_that_cannot_be_are_refused() {
    let good = Spoiler::new(&tiny());
    let set = |pointer: &'static str, value: Value| {
        good.with_metadata(|m| *m.pointer_mut(pointer).unwrap_or_else(|| panic!("no {pointer}")) = value)
    };
    let long = json!(vec![vec![0.0; 4]; 101]);
    let cases = [
        ("/data", Value::Null, "data"),
        ("/data/scaler/min/0", json!(1e9), "scaler dx"),
        ("/data/scaler/max/7", Value::Null, "metadata.trajgan"),
        ("/data/scaler/clip_low/1", json!(1e30), "scaler clip accel"),
        ("/data/scaler/condition_max", json!([]), "condition"),
        ("/data/scaler/condition_min", json!([0.0, 0.0]), "condition"),
        ("/data/scaler/min", json!([0.0]), "metadata.trajgan"),
        ("/data/lengths/quantiles", json!([]), "length model"),
        ("/data/lengths/quantiles/0/3", json!(1e9), "length model bin 0"),
        ("/data/lengths/quantiles/0/0", json!(0), "length model bin 0"),
        ("/data/lengths/edges", json!([]), "length model"),
        (
            "/data/codec",
            json!({ "tick_ms": 8.0, "step_edges": [0, 1, 2], "tick_edges": [0, 1, 2], "repeats": false, "whole_ms": true }),
            "codec",
        ),
        ("/data/hash", json!("elevenbytesé"), "hash"),
        ("/stages", json!([]), "metadata.trajgan"),
        ("/stages/0/device", json!("\u{1b}[2J"), "device"),
        ("/stages/0/recent", long, "stages"),
        ("/stages/0/iteration", json!(-1), "metadata.trajgan"),
        ("/stages/0/iteration", json!(u64::MAX), "stages"),
        ("/stages/0/iteration", json!(0), "stages"),
        ("/stages/1/recent/0/2", Value::Null, "metadata.trajgan"),
        ("/stages/0/schedule/plateau/factor", json!(1e300), "stages"),
        ("/stages/0/schedule/plateau/factor", json!(-1.0), "stages"),
        ("/optimizer_steps/0", json!(0), "train.autoencoder"),
        ("/optimizer_steps/2", json!(u64::MAX), "optimizer_steps"),
        ("/optimizer_steps", json!([1, 2]), "metadata.trajgan"),
    ];
    for (pointer, value, field) in cases {
        let case = format!("{pointer} = {value}");
        println!("{case}");
        good.refused(&set(pointer, value), &[field]);
    }
    let walker = Spoiler::new(&tiny_closed_loop());
    let cases = [
        ("/data/codec", Value::Null, "codec"),
        ("/data/codec/tick_ms", json!(0.0), "tick_ms"),
        ("/data/codec/step_edges", json!([0, 1, 2]), "codec"),
        ("/data/codec/step_edges/1", json!(0), "step_edges"),
        ("/data/codec/tick_ms", json!(1e6), "tick_ms"),
        ("/data/codec/landing/0", json!(0.5), "landing"),
        ("/data/codec/landing/1", json!(1e8), "landing"),
        ("/data/codec/tick_edges", json!([0]), "tick_edges"),
        ("/data/codec/tick_edges/0", json!(-1), "metadata.trajgan"),
    ];
    for (pointer, value, field) in cases {
        let file = walker.with_metadata(|m| *m.pointer_mut(pointer).unwrap() = value);
        walker.refused(&file, &[field]);
    }
    let far = |edges: &mut Value| *edges.as_array_mut().unwrap().last_mut().unwrap() = json!(8193);
    walker.refused(&walker.with_metadata(|m| far(&mut m["data"]["codec"]["step_edges"])), &["step_edges"]);
    let mut narrow = walker.with_tensor("data.conditions", |t| {
        floats(t).truncate(1);
        t.shape = vec![1, 1];
    });
    walker.refused(&narrow, &["data.conditions"]);
    narrow = walker.with_tensor("data.conditions", |t| {
        floats(t).clear();
        t.shape = vec![0, 2];
    });
    walker.refused(&narrow, &["data.conditions"]);
}

#[test]
fn failures_leave_files_alone() {
    let good = Spoiler::new(&tiny());
    let kept = good.folder.path().join("good.safetensors");
    let before = fs::read(&kept).unwrap();
    let large = good.write(&good.with_tensor("generator.output.weight", |t| floats(t)[0] = 1e6));
    let model = Model::load(&large, Device::Cpu).unwrap();
    let message = model.export(&kept, true).unwrap_err().to_string();
    assert!(message.contains("generator.output.weight") && message.contains("1000000"), "{message}");
    assert!(fs::read(&kept).unwrap() == before, "a failed export changed the file");
    let nowhere = good.folder.path().join("no/such/folder/m.safetensors");
    assert!(matches!(model.save(&nowhere), Err(Error::Io { .. })));
    assert!(model.save(good.folder.path()).is_err(), "a folder is no file");
    assert!(model.save(Path::new("")).is_err());
    let names = fs::read_dir(good.folder.path()).unwrap().count();
    assert_eq!(names, 2, "nothing is left beside the files");
    assert!(matches!(Model::load(&nowhere, Device::Cpu), Err(Error::Io { .. })));
    assert!(Model::load(good.folder.path(), Device::Cpu).is_err());
}

/// What the tensors of the networks alone say, as `safetensors.torch.save_file(model.state_dict(), ..)` would.
fn state_dict(good: &Spoiler) -> TensorFile {
    let mut file = good.file.clone();
    file.metadata.clear();
    file.tensors.retain(|name, _| !name.starts_with("train.") && !name.starts_with("data."));
    file
}

#[test]
fn a_state_dict_is_imported_with_its_config() {
    let config = tiny();
    let good = Spoiler::new(&config);
    let path = good.write(&state_dict(&good));
    let model = Model::load(&good.folder.path().join("good.safetensors"), Device::Cpu).unwrap();
    let imported = Model::import(&path, config.clone(), Device::Cpu).unwrap();
    for name in state_dict(&good).tensors.keys() {
        assert_eq!(model.tensor(name), imported.tensor(name), "{name}");
    }
    let rows: Vec<Vec<f32>> = (1..20).map(|n| (0..n * 8).map(|i| (i % 13) as f32 / 13.0 - 0.5).collect()).collect();
    let z = model.encode_features(&rows, 1).unwrap();
    assert_eq!(z, imported.encode_features(&rows, 1).unwrap());
    assert_eq!((imported.stages()[0].iteration, imported.data()), (0, None));
    assert!(imported.generate(1, None, &SampleOptions::default()).is_err(), "it knows no data");

    let wrong = [
        (Config { latent_dim: 7, ..config.clone() }, "encoder.linear"),
        (Config { generator_type: GeneratorKind::Film, ..config.clone() }, "generator."),
        (Config { discriminator_type: CriticKind::Multiscale, ..config.clone() }, "discriminator.discriminators"),
        (Config { generator_hidden_dims: vec![13], ..config.clone() }, "generator."),
        (Config { latent_dim: 0, ..config.clone() }, "latent_dim"),
    ];
    for (config, field) in wrong {
        let message = Model::import(&path, config, Device::Cpu).unwrap_err().to_string();
        assert!(message.contains(field) && message.contains("bad.safetensors"), "{message}: expected {field}");
    }
    // Without the config that only import takes, such a file is no model.
    good.refused(&state_dict(&good), &["metadata.trajgan", "import"]);
}

/// Both doors are open to our own files; a config that is not the file's is refused by name.
#[test]
fn our_own_file_is_imported_as_it_is_loaded() {
    for config in both() {
        let good = Spoiler::new(&config);
        let path = good.folder.path().join("good.safetensors");
        let (loaded, imported) = (Model::load(&path, Device::Cpu), Model::import(&path, config.clone(), Device::Cpu));
        assert_same(&contents(&loaded.unwrap()), &contents(&imported.unwrap()), "imported");
        let other = Config { latent_dim: 7, ..config };
        let message = Model::import(&path, other, Device::Cpu).unwrap_err().to_string();
        assert!(
            message.ends_with("good.safetensors: config.latent_dim: import asks for 7, expected the model's 6"),
            "{message}"
        );
    }
}
