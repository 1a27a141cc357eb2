//! Learns from recordings and makes a movement: `cargo run --release --example generate RECORDINGS`

use trajgan::config::Preset;
use trajgan::{Config, Control, Dataset, Device, Model, SampleOptions, Stage, TrainOptions};

fn main() -> trajgan::Result<()> {
    let folder = std::env::args().nth(1).unwrap_or("demo/recordings.jsonl".into());
    // README: from here
    let (data, _) = Dataset::open(folder.as_ref(), &Default::default())?;
    let config = Config { stage1_iterations: 300, stage2_iterations: 300, ..Config::closed_loop(Preset::Fast) };
    let mut model = Model::new(config.clone(), Device::Auto)?;
    let options = TrainOptions { config, threads: 0, seed: 1 };
    for stage in [Stage::Autoencoder, Stage::Gan] {
        model.train(&data, stage, &options, &mut |_, _| Control::Continue)?;
    }
    model.save("my.safetensors".as_ref())?;
    let movements = model.generate(10, Some(&[400.0; 10]), &SampleOptions::default())?;
    movements[0].points.iter().for_each(|p| println!("{:7.1} {:7.1} {:7.1}", p.t_ms, p.x, p.y));
    // README: to here
    Ok(())
}
