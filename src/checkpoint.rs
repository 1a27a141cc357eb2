//! A model as one safetensors file.
//!
//! Tensors of the networks have the names of the original implementation's `state_dict`; `train.*` are the
//! moments of the optimisers, absent in an exported model. The metadata key `trajgan` holds the rest as JSON.
//!
//! A checkpoint's `generator.*` are the weights that train. Samples come from `train.generator.average`, if it is there: the same
//! tensors one behind the other, as the moments are, in the order of [`Model::parameter_names`]. An exported model has it in their
//! place.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::config::{Config, DecoderKind};
use crate::data::{LengthModel, Scaler, StepCodec};
use crate::error::{Error, Result, afford};
use crate::eval::density_ratio::DensityRatio;
use crate::files::{FORMAT_KEY, Tensor, TensorFile, Values};
use crate::model::{DataModel, Device, Model, StageState};
use crate::nn::optim::{Moments, Schedule};

/// Of this version's files. A file with a higher number is refused.
const FORMAT: u64 = 1;

/// Everything but the numbers.
#[derive(Serialize, Deserialize)]
struct Metadata {
    format: u64,
    version: String,
    config: Config,
    data: Option<DataMetadata>,
    stages: [StageState; 2],
    /// Steps that the optimisers of autoencoder, generator and critic have taken.
    optimizer_steps: [u64; 3],
    /// The generator's average is in the file.
    averaged: bool,
    /// What chooses among walks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ratio: Option<DensityRatio>,
}

#[derive(Serialize, Deserialize)]
struct DataMetadata {
    scaler: Option<Scaler>,
    lengths: LengthModel,
    codec: Option<StepCodec>,
    hash: String,
}

/// Just enough to tell a newer file from a damaged one.
#[derive(Deserialize)]
struct Format {
    format: u64,
}

/// More than any training does; counters that come from a file must not overflow.
const MOST_ITERATIONS: u64 = 1 << 48;

const CONDITIONS: &str = "data.conditions";
const AVERAGE: &str = "train.generator.average";
const MOMENTS: [&str; 3] = ["autoencoder", "generator", "discriminator"];

impl Model {
    /// Writes the model with its training state, whole or not at all: what was at path survives a failure.
    pub fn save(&self, path: &Path) -> Result<()> {
        self.file(true)?.write(path, false)
    }

    /// Writes the model without its training state; `half`: with 16-bit weights.
    pub fn export(&self, path: &Path, half: bool) -> Result<()> {
        self.file(false)?.write(path, half)
    }

    fn file(&self, training: bool) -> Result<TensorFile> {
        let mut file = TensorFile::default();
        let layout = &self.networks.layout;
        let moments: usize = self.moments.iter().map(|m| 2 * m.m.len()).sum();
        afford(4 * (2 * layout.len() + moments + self.average.len()), "a model file")?;
        let mut params = self.weights.params.clone();
        if !training && !self.average.is_empty() {
            params[self.networks.generator_range.clone()].copy_from_slice(&self.average);
        }
        for (entries, arena) in [(&layout.entries, &params), (&layout.buffers, &self.buffers)] {
            for entry in entries {
                put(&mut file, entry.name.clone(), entry.shape.clone(), arena[entry.range()].to_vec());
            }
        }
        if let Some(data) = &self.data {
            let columns = DataModel::condition_columns(&self.config);
            put(&mut file, CONDITIONS.into(), vec![data.conditions.len() / columns, columns], data.conditions.clone());
        }
        let mut stages = self.stages.clone();
        if training {
            if !self.average.is_empty() {
                put(&mut file, AVERAGE.into(), vec![self.average.len()], self.average.clone());
            }
            for (name, moments) in MOMENTS.iter().zip(&self.moments).filter(|(_, m)| m.steps > 0) {
                put(&mut file, format!("train.{name}.m"), vec![moments.m.len()], moments.m.clone());
                put(&mut file, format!("train.{name}.v"), vec![moments.v.len()], moments.v.clone());
            }
        } else {
            stages.iter_mut().for_each(|s| *s = StageState { recent: Vec::new(), schedule: None, ..s.clone() });
        }
        let data = self.data.as_ref().map(|d| DataMetadata {
            scaler: d.scaler.clone(),
            lengths: d.lengths.clone(),
            codec: d.codec.clone(),
            hash: d.hash.clone(),
        });
        let metadata = Metadata {
            format: FORMAT,
            version: env!("CARGO_PKG_VERSION").into(),
            config: self.config.clone(),
            data,
            stages,
            optimizer_steps: if training { self.moments.each_ref().map(|m| m.steps) } else { [0; 3] },
            averaged: training && !self.average.is_empty(),
            ratio: self.ratio.clone(),
        };
        let json =
            serde_json::to_string(&metadata).map_err(|e| Error::argument("model", e, "one that JSON can hold"))?;
        file.metadata.insert(FORMAT_KEY.into(), json);
        Ok(file)
    }

    /// Reads a file of [`Model::save`] or [`Model::export`]. The file is not trusted: it is checked whole.
    ///
    /// # Errors
    /// `Io`, `Format` (naming file and field), `Version` for a newer trajgan's, `Device`.
    pub fn load(path: &Path, device: Device) -> Result<Model> {
        Model::from_file(path, TensorFile::read(path)?, device)
    }

    /// `path`: for errors.
    fn from_file(path: &Path, file: TensorFile, device: Device) -> Result<Model> {
        let fail = |field: &str, problem: String| Error::format(path, field, problem);
        let json = file.metadata.get(FORMAT_KEY).ok_or_else(|| {
            fail(
                "metadata.trajgan",
                "missing: not a trajgan model (a state_dict needs its config: Model::import of the Rust API)".into(),
            )
        })?;
        let parse = |e: serde_json::Error| fail("metadata.trajgan", e.to_string());
        // As bytes, like all other JSON: for text the parser would be there twice.
        let Format { format } = serde_json::from_slice(json.as_bytes()).map_err(parse)?;
        if format > FORMAT {
            return Err(Error::Version { path: path.to_owned(), got: format, newest: FORMAT });
        }
        let metadata: Metadata = serde_json::from_slice(json.as_bytes()).map_err(parse)?;
        let mut reader = Reader { path, file };
        let mut model = reader.model(metadata.config, device)?;
        if let Some(data) = metadata.data {
            let conditions = reader.conditions(&model.config)?;
            model.data = Some(reader.data(&model.config, data, conditions)?);
        }
        model.stages = metadata.stages;
        reader.check_stages(&model)?;
        let ranges = [&model.networks.autoencoder_range, &model.networks.generator_range, &model.networks.critic_range];
        for (i, (name, range)) in MOMENTS.iter().zip(ranges).enumerate() {
            let steps = metadata.optimizer_steps[i];
            if steps > MOST_ITERATIONS {
                return reader
                    .fail("metadata.trajgan.optimizer_steps", format!("{steps}, expected up to {MOST_ITERATIONS}"));
            }
            if steps > 0 {
                let m = reader.take(&format!("train.{name}.m"), Some(&[range.len()]))?;
                let v = reader.take(&format!("train.{name}.v"), Some(&[range.len()]))?;
                if let Some(at) = v.iter().position(|&v| v < 0.0) {
                    return reader
                        .fail(&format!("train.{name}.v"), format!("number {at} is {}, expected 0 or more", v[at]));
                }
                model.moments[i] = Moments { m, v, steps };
            }
        }
        if metadata.averaged {
            model.average = reader.take(AVERAGE, Some(&[model.networks.generator_range.len()]))?;
        }
        if let Some(ratio) = &metadata.ratio {
            let walks = model.data.as_ref().is_some_and(|data| data.codec.is_some());
            let checked = if walks { ratio.check() } else { Err(Error::argument("model", "v6", "one that walks")) };
            checked.or_else(|e| reader.fail("metadata.trajgan.ratio", e))?;
        }
        model.ratio = metadata.ratio;
        reader.finish()?;
        Ok(model)
    }

    /// Reads the weights of a file with the original implementation's `state_dict` names, as
    /// `safetensors.torch.save_file(model.state_dict(), ..)` writes it. Such a file says nothing of its architecture
    /// and its data: config does, and data comes with the first training. A file of ours says both, and is read as by
    /// [`Model::load`] if its architecture is the config's.
    pub fn import(path: &Path, config: Config, device: Device) -> Result<Model> {
        let mut reader = Reader { path, file: TensorFile::read(path)? };
        if reader.file.metadata.contains_key(FORMAT_KEY) {
            let model = Model::from_file(path, reader.file, device)?;
            return match model.config.same_architecture(&config) {
                Err(Error::Argument { name, got, expected }) => Err(Error::format(
                    path,
                    format!("config.{name}"),
                    format!("import asks for {got}, expected {expected}"),
                )),
                other => other.map(|()| model),
            };
        }
        let model = reader.model(config, device)?;
        reader.finish()?;
        Ok(model)
    }
}

fn put(file: &mut TensorFile, name: String, shape: Vec<usize>, values: Vec<f32>) {
    file.tensors.insert(name, Tensor { shape, values: Values::F32(values) });
}

/// A closed-loop model has a codec with as many classes as its heads; a v6 model has none.
fn check_codec(config: &Config, codec: Option<&StepCodec>) -> Result<()> {
    match (config.decoder, codec) {
        (DecoderKind::V6, None) => Ok(()),
        (DecoderKind::ClosedLoop, Some(codec)) => {
            codec.check()?;
            let (got, expected) =
                ([codec.step_classes(), codec.tick_classes()], [2 * config.step_magnitudes - 1, config.tick_classes]);
            if got == expected {
                return Ok(());
            }
            Err(Error::argument("codec", format!("{got:?} classes"), format!("{expected:?}")))
        }
        (kind, _) => Err(Error::argument("codec", codec.is_some(), format!("what decoder {} has", kind.name()))),
    }
}

/// Takes tensors out of a file; what is left at the end is an error.
struct Reader<'a> {
    path: &'a Path,
    file: TensorFile,
}

impl Reader<'_> {
    fn fail<T>(&self, field: &str, problem: impl ToString) -> Result<T> {
        Err(Error::format(self.path, field, problem))
    }

    fn take(&mut self, name: &str, shape: Option<&[usize]>) -> Result<Vec<f32>> {
        let Some(tensor) = self.file.tensors.remove(name) else { return self.fail(name, "missing") };
        if let Some(shape) = shape.filter(|shape| *shape != tensor.shape) {
            return self.fail(name, format!("shape {:?}, expected {shape:?}", tensor.shape));
        }
        let Values::F32(values) = tensor.values else { return self.fail(name, "expected 16- or 32-bit floats") };
        match values.iter().position(|x| !x.is_finite()) {
            Some(i) => self.fail(name, format!("number {i} is {}", values[i])),
            None => Ok(values),
        }
    }

    fn model(&mut self, config: Config, device: Device) -> Result<Model> {
        let mut model = match Model::new(config, device) {
            Err(Error::Argument { name, got, expected }) => {
                return self.fail(&format!("config.{name}"), format!("{got}, expected {expected}"));
            }
            other => other?,
        };
        let layout = model.networks.layout.clone();
        let arenas = [(&layout.entries, &mut model.weights.params), (&layout.buffers, &mut model.buffers)];
        for (entries, arena) in arenas {
            for entry in entries {
                arena[entry.range()].copy_from_slice(&self.take(&entry.name, Some(&entry.shape))?);
            }
        }
        model.weights.pack(0..layout.len());
        Ok(model)
    }

    /// (n,columns), 1 row or more.
    fn conditions(&mut self, config: &Config) -> Result<Vec<f32>> {
        let columns = DataModel::condition_columns(config);
        match self.file.tensors.get(CONDITIONS).map(|t| t.shape.clone()).as_deref() {
            Some(&[rows, width]) if width == columns && rows > 0 => self.take(CONDITIONS, Some(&[rows, width])),
            Some(shape) => self.fail(CONDITIONS, format!("shape {shape:?}, expected rows of {columns}")),
            None => self.fail(CONDITIONS, "missing"),
        }
    }

    fn data(&self, config: &Config, data: DataMetadata, conditions: Vec<f32>) -> Result<DataModel> {
        let checked = data.lengths.check(config.max_seq_len).and_then(|()| match &data.scaler {
            Some(scaler) if scaler.condition_dim() != config.condition_dim => {
                let expected = format!("{}", config.condition_dim);
                Err(Error::argument("scaler.condition_min", scaler.condition_dim(), expected))
            }
            Some(scaler) => scaler.check(),
            None => Ok(()),
        });
        let checked = checked.and_then(|()| check_codec(config, data.codec.as_ref())).and_then(|()| {
            let hex = data.hash.bytes().all(|byte| byte.is_ascii_hexdigit());
            if hex { Ok(()) } else { Err(Error::argument("hash", &data.hash, "hexadecimal digits")) }
        });
        match checked {
            Err(e) => self.fail("metadata.trajgan.data", e),
            Ok(()) => Ok(DataModel {
                scaler: data.scaler,
                lengths: data.lengths,
                codec: data.codec,
                conditions,
                hash: data.hash,
            }),
        }
    }

    /// A model that claims to have trained must know its data, and its stages must be such as training makes.
    fn check_stages(&self, model: &Model) -> Result<()> {
        let [first, second] = &model.stages;
        if first.iteration.max(second.iteration) > 0 && model.data.is_none() {
            return self.fail("metadata.trajgan.data", "missing in a trained model");
        }
        if first.iteration == 0 && second.iteration > 0 {
            return self.fail("metadata.trajgan.stages", "the GAN has trained, but not the autoencoder");
        }
        for (i, stage) in model.stages.iter().enumerate() {
            let field = format!("metadata.trajgan.stages[{i}]");
            if stage.iteration > MOST_ITERATIONS {
                return self.fail(&field, format!("iteration {}, expected up to {MOST_ITERATIONS}", stage.iteration));
            }
            if stage.recent.len() > crate::model::WINDOW {
                return self.fail(&field, format!("recent has {} losses: more than the window", stage.recent.len()));
            }
            if stage.device.as_ref().is_some_and(|device| device.contains(char::is_control)) {
                return self.fail(&field, "device: control characters");
            }
            if let Some(Err(e)) = stage.schedule.as_ref().map(Schedule::check) {
                return self.fail(&field, e);
            }
        }
        Ok(())
    }

    fn finish(self) -> Result<()> {
        match self.file.tensors.keys().next() {
            Some(name) => self.fail(name, "unexpected: the config has no such tensor"),
            None => Ok(()),
        }
    }
}
