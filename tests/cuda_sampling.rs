//! Movements of the v6 decoder drawn on a CUDA device, against the CPU's: every expander, odd sizes, any batch. The emulated
//! driver runs the same kernels and launch code where there is no device.
#![cfg(feature = "cuda")]

mod common;
mod cuda_support;
mod skip;

use std::path::{Path, PathBuf};
use std::process::Command;

use common::{dataset, tiny, trained};
use ndarray::Array2;
use trajgan::config::{Expand, GeneratorKind};
use trajgan::{Config, Device, Model, SampleOptions};

/// Features are in [-1,1]; they come through some hundred dependent steps in 32 bits.
const FEATURE: f32 = 2e-5;
/// The same with factors of 10 bits.
const TF32_FEATURE: f32 = 4e-3;

fn options() -> SampleOptions {
    SampleOptions { seed: 3, first: 7, truncation_psi: 0.9, ..SampleOptions::default() }
}

/// A trained model as a file.
fn file(folder: &Path, config: &Config) -> PathBuf {
    let path = folder.join("m.safetensors");
    trained(config, &dataset(60, 3), 2).save(&path).unwrap();
    path
}

fn assert_close(cpu: &[f32], cuda: &[f32], what: &str) {
    assert_eq!(cpu.len(), cuda.len());
    let worst = cpu.iter().zip(cuda).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    println!("{what}: {worst:.1e}");
    assert!(worst <= FEATURE, "{what}: {worst}");
}

#[test]
fn movements_are_those_of_the_cpu() {
    if !cuda_support::load() {
        return;
    }
    let kinds = [
        Config { generator_average: 0.9, expander_num_layers: 3, ..tiny() },
        Config { expand_type: Expand::Mlp, generator_type: GeneratorKind::Film, ..tiny() },
        Config { expand_type: Expand::Repeat, decoder_num_layers: 1, ..tiny() },
        // As wide as the kernels that keep weights in registers; more hidden units than a block has threads.
        Config { decoder_hidden_dim: 64, expander_hidden_dim: 131, ..tiny() },
    ];
    for config in kinds {
        let folder = tempfile::tempdir().unwrap();
        let path = file(folder.path(), &config);
        let [cpu, cuda] = [Device::Cpu, Device::Cuda(0)].map(|device| Model::load(&path, device).unwrap());
        for (count, seq_len) in [(1, 0), (7, 0), (33, 40), (141, 2)] {
            let options = SampleOptions { seq_len, ..options() };
            let (a, lengths) = cpu.generate_features(count, None, &options).unwrap();
            let (b, same) = cuda.generate_features(count, None, &options).unwrap();
            assert_eq!(lengths, same);
            let what = format!("{:?}, {count} of {seq_len} points", config.expand_type);
            assert_close(a.as_slice().unwrap(), b.as_slice().unwrap(), &what);
        }
        let z = Array2::from_shape_fn((5, config.summary_dim), |(i, k)| ((3 * i + k) as f32).sin());
        let [a, b] = [&cpu, &cuda].map(|m| m.decode_features(z.view(), &[3, 40, 1, 17, 17], 1).unwrap().concat());
        assert_close(&a, &b, "summaries");
    }
}

/// The next test runs it again as an older device.
#[test]
fn tf32_is_close_where_the_device_has_it() {
    let Some(device) = cuda_support::device() else { return };
    let has_it = device.has_tf32();
    let folder = tempfile::tempdir().unwrap();
    for expand_type in [Expand::Lstm, Expand::Mlp] {
        let config = Config { expand_type, decoder_hidden_dim: 64, expander_hidden_dim: 131, ..tiny() };
        let model = Model::load(&file(folder.path(), &config), Device::Cuda(0)).unwrap();
        let draw = |allow_tf32, first, count| {
            let options = SampleOptions { allow_tf32, first, ..options() };
            model.generate_features(count, None, &options).unwrap().0.into_raw_vec_and_offset().0
        };
        let [exact, rounded] = [false, true].map(|tf32| draw(tf32, 7, 70));
        let worst = exact.iter().zip(&rounded).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        println!("{expand_type:?}: {worst:.1e}");
        assert_eq!(worst > FEATURE, has_it, "{worst}");
        assert!(worst < TF32_FEATURE, "{worst}");
        assert_eq!(draw(true, 9, 3), rounded[2 * exact.len() / 70..5 * exact.len() / 70], "of any batch");
    }
}

#[test]
fn an_older_device_has_no_tf32() {
    if std::env::var_os("TRAJGAN_DRIVER").is_some() || cuda_support::library().is_none() {
        return; // only the emulated driver can be told what it is
    }
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "tf32_is_close_where_the_device_has_it"]).env("EMU_MAJOR", "7");
    assert!(child.status().unwrap().success());
}

/// Blocks of 1, 4 and 16 rows: 132 multiprocessors are emulated, so the batches are of all three kinds.
#[test]
fn a_sample_does_not_depend_on_its_batch() {
    if !cuda_support::load() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let model = Model::load(&file(folder.path(), &tiny()), Device::Cuda(0)).unwrap();
    let draw = |first: u64, count: usize| {
        let options = SampleOptions { first, ..options() };
        model.generate(count, None, &options).unwrap()
    };
    let all = draw(7, 700);
    assert_eq!(draw(7, 200), all[..200]);
    assert_eq!(draw(500, 1), all[493..494]);
    // After the last 64-bit number comes 0.
    assert_eq!(draw(u64::MAX, 2)[1], draw(0, 1)[0]);
    assert!(draw(0, 0).is_empty());
}

/// Not a test of its own: what the next one runs in a process with little device memory.
#[test]
fn child() {
    let Some(path) = std::env::var_os("MODEL").map(PathBuf::from).filter(|_| cuda_support::load()) else { return };
    let model = Model::load(&path, Device::Cuda(0)).unwrap();
    let (features, _) = model.generate_features(50, None, &options()).unwrap();
    let bits: Vec<u8> = features.iter().flat_map(|x| x.to_le_bytes()).collect();
    std::fs::write(path.with_extension("bits"), bits).unwrap();
}

#[test]
fn too_little_device_memory_for_all_makes_parts() {
    if cuda_support::library().is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = file(folder.path(), &tiny());
    let trace = folder.path().join("trace");
    let draw = |memory: &str| {
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args(["--exact", "child", "--test-threads=1"]);
        child.env("MODEL", &path).env("EMU_MEMORY", memory).env("EMU_TRACE", &trace);
        assert!(child.status().unwrap().success());
        let launches = std::fs::read_to_string(&trace).unwrap().matches("gather_rows").count();
        std::fs::remove_file(&trace).unwrap();
        (std::fs::read(path.with_extension("bits")).unwrap(), launches)
    };
    let (whole, once) = draw("1000000000");
    let (parts, often) = draw("400000");
    assert!(once == 1 && often > 3, "{once} and {often} launches");
    assert_eq!(whole, parts);
}
