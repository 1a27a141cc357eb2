//! What a training tells TensorBoard, under the original's tags: losses at log intervals; pictures, histograms of
//! weights and gradients and the latent space at evaluation intervals and at a stage's end.

use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};

use super::canvas::Picture;
use super::events::{EventFile, Value};
use super::plot::{Against, Panel, pairs};
use super::tracks::{Examples, drawable, scaler};
use crate::data::Dataset;
use crate::error::{Error, Result};
use crate::files::write_whole;
use crate::model::Model;
use crate::sample::SampleOptions;
use crate::train::{Progress, Stage};

/// Movements in a picture.
const PAIRS: usize = 4;

/// Summaries in the projector.
const SUMMARIES: usize = 1000;

/// The logs of one training.
pub struct Board<'a> {
    folder: PathBuf,
    events: EventFile,
    data: &'a Dataset,
    /// Held-out movements for pictures and training movements for the projector; chosen when first wanted.
    examples: Option<[Examples; 2]>,
}

impl<'a> Board<'a> {
    /// Begins an event file in `folder`. `data`: what is trained on.
    pub fn create(folder: &Path, data: &'a Dataset) -> Result<Board<'a>> {
        let events = EventFile::create(folder).map_err(|e| Error::io(folder, e))?;
        Ok(Board { folder: folder.to_owned(), events, data, examples: None })
    }

    /// To be called after every iteration: writes what is due.
    pub fn look(&mut self, model: &Model, progress: &Progress) -> Result<()> {
        if progress.log || progress.validation.is_some() {
            let names: Vec<(String, f64)> = scalars(progress);
            let entries: Vec<_> = names.iter().map(|(tag, x)| (tag.as_str(), Value::Scalar(*x as f32))).collect();
            self.write(progress.iteration, &entries)?;
        }
        if progress.is_choosing() {
            return Ok(());
        }
        let last = progress.iteration == progress.iterations || progress.converged;
        if last || progress.iteration.is_multiple_of(model.config().eval_interval) {
            self.histograms(model, progress)?;
            if drawable(model).is_ok() {
                self.pictures(model, progress)?;
            }
            if progress.stage == Stage::Autoencoder {
                self.latent_space(model)?;
            }
        }
        Ok(())
    }

    fn write(&mut self, step: u64, entries: &[(&str, Value)]) -> Result<()> {
        self.events.write(step, entries).map_err(|e| Error::io(&self.folder, e))
    }

    fn histograms(&mut self, model: &Model, progress: &Progress) -> Result<()> {
        let mut tagged = Vec::new();
        for name in model.parameter_names() {
            let stage_2 = name.starts_with("generator.") || name.starts_with("discriminator.");
            if stage_2 != (progress.stage == Stage::Gan) {
                continue; // does not move in this stage
            }
            let weights = model.tensor(name).map(|(_, values)| ("weights", values));
            let gradients = model.remembered_gradient(name).map(|values| ("gradients", values));
            tagged.extend([weights, gradients].into_iter().flatten().map(|(kind, v)| (format!("{kind}/{name}"), v)));
        }
        let entries: Vec<_> = tagged.iter().map(|(tag, values)| (tag.as_str(), Value::Histogram(values))).collect();
        self.write(progress.iteration, &entries)
    }

    fn pictures(&mut self, model: &Model, progress: &Progress) -> Result<()> {
        let [held_out, _] = self.examples(model)?;
        let picture = match progress.stage {
            Stage::Autoencoder => reconstructions(model, held_out),
            Stage::Gan => generations(model, held_out),
        }?;
        let tag = match progress.stage {
            Stage::Autoencoder => "stage1/trajectories",
            Stage::Gan => "stage2/generated_trajectories",
        };
        self.write(progress.iteration, &[(tag, Value::Image(&picture))])
    }

    /// For the projector: the summaries, and a table of what they are of.
    fn latent_space(&mut self, model: &Model) -> Result<()> {
        let folder = self.folder.clone();
        let [_, seen] = self.examples(model)?;
        let mut vectors = String::new();
        for row in seen.summaries(model)?.outer_iter() {
            let numbers: Vec<String> = row.iter().map(f32::to_string).collect();
            vectors += &format!("{}\n", numbers.join("\t"));
        }
        let mut table = String::from("condition\tlength\n");
        for (condition, length) in seen.conditions(model).iter().zip(seen.lengths(model)) {
            let _ = writeln!(table, "{condition:.3}\t{length}");
        }
        let config = "embeddings {\n  tensor_name: \"latent_space\"\n  tensor_path: \"latent_space.tsv\"\n  \
                      metadata_path: \"latent_space_metadata.tsv\"\n}\n";
        let files = [
            ("latent_space.tsv", vectors.as_str()),
            ("latent_space_metadata.tsv", &table),
            ("projector_config.pbtxt", config),
        ];
        let write = |(name, text): (&str, &str)| write_whole(&folder.join(name), |out| out.write_all(text.as_bytes()));
        files.into_iter().try_for_each(write)
    }

    fn examples(&mut self, model: &Model) -> Result<&[Examples; 2]> {
        if self.examples.is_none() {
            let prepared = self.data.prepare(model.config(), scaler(model))?;
            // Few movements may leave no validation split.
            let held_out = if prepared.validation.is_empty() { &prepared.train } else { &prepared.validation };
            self.examples = Some([Examples::of(held_out, PAIRS), Examples::of(&prepared.train, SUMMARIES)]);
        }
        Ok(self.examples.get_or_insert_default())
    }
}

/// Real against reconstructed: path, speed, and where they differ.
pub fn reconstructions(model: &Model, examples: &Examples) -> Result<Picture> {
    let other = examples.rebuilt(model, &SampleOptions::default())?;
    let panels = [Panel::Path, Panel::Speed, Panel::Errors];
    drawn(pairs(&examples.tracks(model), &other, Against::Reconstructed, &panels, scaler(model).is_some()))
}

/// Real against generated for the same wishes: path, speed and the features' means.
pub fn generations(model: &Model, examples: &Examples) -> Result<Picture> {
    let other = examples.made(model, &SampleOptions::default())?;
    let panels = [Panel::Path, Panel::Speed, Panel::Means];
    drawn(pairs(&examples.tracks(model), &other, Against::Generated, &panels, scaler(model).is_some()))
}

fn drawn(picture: io::Result<Picture>) -> Result<Picture> {
    picture.map_err(|e| Error::io("picture", e))
}

/// Tags and values.
fn scalars(p: &Progress) -> Vec<(String, f64)> {
    let (stage, parts): (&str, Vec<(&str, f64)>) = match (p.stage, p.nats) {
        (Stage::Autoencoder, None) => (
            "stage1",
            vec![("loss_direct", p.direct), ("loss_recon", p.recon), ("loss_latent", p.latent), ("loss_total", p.loss)],
        ),
        (Stage::Autoencoder, Some([steps, ticks, stop])) => {
            ("stage1", vec![("nats_steps", steps), ("nats_ticks", ticks), ("nats_stop", stop), ("nats_total", p.loss)])
        }
        (Stage::Gan, _) => (
            "stage2",
            vec![
                ("d_loss", p.critic),
                ("g_loss", p.loss),
                ("wasserstein", p.wasserstein),
                ("gradient_penalty", p.gradient_penalty),
            ],
        ),
    };
    let validation =
        parts.iter().zip(p.validation.into_iter().flatten()).map(|((name, _), x)| (format!("{stage}/val_{name}"), x));
    let pace = [("learning_rate", p.learning_rate), ("iterations_per_second", p.iterations_per_second)];
    let all = parts.iter().copied().chain(pace).map(|(name, x)| (format!("{stage}/{name}"), x));
    all.chain(validation).collect()
}
