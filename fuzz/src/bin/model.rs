//! A model file whose metadata is the input, with a hash that is right: what the hash does not protect from.
#![no_main]

use std::path::Path;
use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use trajgan::files::{FORMAT_KEY, TensorFile};
use trajgan::{Device, Model, SampleOptions};

fn good() -> TensorFile {
    static GOOD: OnceLock<TensorFile> = OnceLock::new();
    let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/formats/1_v6.safetensors"));
    GOOD.get_or_init(|| TensorFile::read(path).expect("the example is read")).clone()
}

fuzz_target!(|text: &str| {
    let mut file = good();
    file.metadata.insert(FORMAT_KEY.into(), text.into());
    let path = trajgan_fuzz::folder().join("model.safetensors");
    if file.write(&path, false).is_err() {
        return;
    }
    let Ok(model) = Model::load(&path, Device::Cpu) else { return };
    model.save(&path).expect("what was loaded is saved");
    if let Ok(movements) = model.generate(2, None, &SampleOptions::default()) {
        assert!(movements.iter().flat_map(|m| &m.points).all(|p| p.x.is_finite() && p.y.is_finite()));
    }
});
