//! Settings: preset, then file, then flags. One flat set of names: those of the model and its training, of how
//! recordings are read and cut, and a few of the program's own.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use trajgan::config::{DecoderKind, Preset};
use trajgan::data::ReadOptions;
use trajgan::{Config, Dataset};

use crate::console::{Console, shown};
use crate::failure::{Failure, Result, read_text};

/// Flags of the commands that read data or train.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct Flags {
    /// File of settings, one `name = value` a line (TOML)
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Which decoder: closed-loop (whole pixels and clock ticks, exact ends) or v6 (the original's scaled features)
    /// [default: closed-loop for recordings, v6 for arrays]
    #[arg(long, value_name = "NAME")]
    decoder: Option<DecoderKind>,
    /// Settings to start from: default, fast, large or recommended (of closed-loop, as default)
    #[arg(long, value_name = "NAME")]
    preset: Option<Preset>,
    /// Iterations of each stage, in all
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    iterations: Option<u64>,
    /// Movements in a batch
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    batch_size: Option<usize>,
    /// Seed of the first weights, the split, and all that training draws
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = clap::value_parser!(u64).range(..=i64::MAX as u64))]
    seed: Option<u64>,
    /// Any other setting; `trajgan train --show-settings` lists them
    #[arg(long = "set", value_name = "NAME=VALUE")]
    set: Vec<String>,
}

impl Flags {
    /// The decoder that flags or file ask for: presets depend on it.
    fn decoder_or(&self, file: &serde_json::Map<String, Value>) -> Result<Option<DecoderKind>> {
        match self.decoder {
            Some(decoder) => Ok(Some(decoder)),
            None => Ok(self.word("decoder", file).map(str::parse).transpose()?),
        }
    }

    /// The same for the preset.
    fn preset_of(&self, file: &serde_json::Map<String, Value>) -> Result<Option<Preset>> {
        match self.preset {
            Some(preset) => Ok(Some(preset)),
            None => Ok(self.word("config_preset", file).map(str::parse).transpose()?),
        }
    }

    /// What --set or else the file says.
    fn word<'a>(&'a self, name: &str, file: &'a serde_json::Map<String, Value>) -> Option<&'a str> {
        let set = self.set.iter().filter_map(|pair| pair.split_once('=')).rfind(|(set, _)| set.trim() == name);
        set.map(|(_, word)| word.trim().trim_matches(['"', '\''])).or_else(|| file.get(name)?.as_str())
    }
}

/// What only the program needs to know.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Program {
    config_preset: Option<String>,
    /// A run's, though no UTF-8, as far as it can be shown: resume then needs --data.
    data_dir: Option<PathBuf>,
    checkpoint_dir: Option<PathBuf>,
    stage: Option<String>,
}

#[derive(Clone, Debug)]
pub struct Settings {
    pub config: Config,
    pub read: ReadOptions,
    program: Program,
    /// What file and flags have set.
    given: BTreeSet<String>,
    /// Of these, what the decoder does not read.
    unread: Vec<&'static str>,
}

impl Settings {
    /// `model`: the settings of a model that goes on, in place of a preset.
    pub fn new(flags: &Flags, model: Option<&Config>) -> Result<Settings> {
        Settings::of(flags, model, |_| false)
    }

    /// Those of a new model of arrays of features: the closed-loop decoder is not for those.
    pub fn for_arrays(flags: &Flags) -> Result<Settings> {
        Settings::of(flags, None, |_| true)
    }

    /// Those of a new model of the data that the command line names, or else the file.
    pub fn for_data(flags: &Flags, argument: Option<&Path>) -> Result<Settings> {
        Settings::of(flags, None, |file| {
            let data = argument.or_else(|| flags.word("data_dir", file).map(Path::new));
            data.is_some_and(Dataset::is_arrays)
        })
    }

    /// The file is read once: it may be a pipe.
    fn of(
        flags: &Flags,
        model: Option<&Config>,
        arrays: impl FnOnce(&serde_json::Map<String, Value>) -> bool,
    ) -> Result<Settings> {
        let file = flags.config.as_deref().map(read_table).transpose()?.unwrap_or_default();
        let preset = flags.preset_of(&file)?.unwrap_or(Preset::Default);
        let usual = if arrays(&file) { DecoderKind::V6 } else { DecoderKind::ClosedLoop };
        let decoder = flags.decoder_or(&file)?.unwrap_or(usual);
        let config = model.cloned().unwrap_or_else(|| Config::of(decoder, preset));
        let (read, program) = (ReadOptions::default(), Program::default());
        let settings = Settings { config, read, program, given: BTreeSet::new(), unread: Vec::new() };
        settings.with(flags, file, model.is_some())
    }

    /// Those of a model that goes on in its run folder, whose config.toml is `run`, and flags.
    pub fn resumed(flags: &Flags, model: &Config, run: &Path) -> Result<Settings> {
        let kept = Settings::new(&Flags { config: Some(run.to_owned()), ..Flags::default() }, None)?;
        let file = flags.config.as_deref().map(read_table).transpose()?.unwrap_or_default();
        Settings { config: model.clone(), given: BTreeSet::new(), ..kept }.with(flags, file, true)
    }

    /// How data is read that belongs to a model: as its run did, if it lies in one whose config.toml is `run`, but for these settings.
    pub fn reading(set: &[String], model: &Config, run: Option<&Path>) -> Result<Settings> {
        let flags = Flags { set: set.to_vec(), ..Flags::default() };
        let settings = match run {
            Some(run) => Settings::resumed(&flags, model, run)?,
            None => Settings::new(&flags, Some(model))?,
        };
        if settings.config != *model {
            let message = "--set: the model's settings are what they are: expected one of how recordings are read";
            return Err(Failure::Usage(message.into()));
        }
        Ok(settings)
    }

    fn with(mut self, flags: &Flags, file: serde_json::Map<String, Value>, goes_on: bool) -> Result<Settings> {
        if goes_on && flags.preset_of(&file)?.is_some() {
            let message = "--preset and config_preset are for a new model: one that goes on has its settings";
            return Err(Failure::Usage(message.into()));
        }
        let all = serde_json::to_value(&self.config).unwrap_or_default();
        let all = all.as_object().is_some_and(|all| all.keys().all(|name| file.contains_key(name)));
        let origin = flags.config.as_deref().unwrap_or(Path::new("")).display().to_string();
        for (name, value) in file {
            self.put(&name, value, &origin)?;
        }
        // A file of all settings, such as a run's, asks for none of them in particular.
        let by_the_way = if all { std::mem::take(&mut self.given) } else { BTreeSet::new() };
        if let Some(decoder) = flags.decoder {
            self.put("decoder", decoder.name().into(), "--decoder")?;
        }
        self.put_flags(flags)?;
        self.config.check()?;
        let unread = self.config.decoder.unread().iter().copied();
        self.unread = unread.filter(|&name| self.given.contains(name)).collect();
        self.given.extend(by_the_way);
        Ok(self)
    }

    /// Says what was set in vain.
    pub fn warn(&self, console: Console) {
        if !self.unread.is_empty() {
            let (decoder, names) = (self.config.decoder.name(), self.unread.join(", "));
            console.line(&format!("Set, but not used by the {decoder} decoder: {names}"));
        }
    }

    fn put_flags(&mut self, flags: &Flags) -> Result<()> {
        if let Some(iterations) = flags.iterations {
            self.put("stage1_iterations", iterations.into(), "--iterations")?;
            self.put("stage2_iterations", iterations.into(), "--iterations")?;
        }
        if let Some(batch_size) = flags.batch_size {
            self.put("batch_size", batch_size.into(), "--batch-size")?;
        }
        if let Some(seed) = flags.seed {
            self.put("seed", seed.into(), "--seed")?;
        }
        for pair in &flags.set {
            let origin = format!("--set {pair}");
            let Some((name, text)) = pair.split_once('=') else {
                return Err(Failure::Usage(format!("{origin}: expected NAME=VALUE")));
            };
            // What is no number, list or truth value is a word.
            let table = format!("v = {text}").parse::<toml::Table>().ok();
            let value = table.and_then(|t| serde_json::to_value(&t["v"]).ok()).unwrap_or_else(|| text.trim().into());
            self.put(name.trim(), value, &origin)?;
        }
        Ok(())
    }

    fn put(&mut self, name: &str, value: Value, origin: &str) -> Result<()> {
        let value = match (name, value) {
            // As to_toml() writes a large one.
            ("seed", Value::String(text)) => text.parse::<u64>().map_or(Value::String(text), Value::from),
            ("stage", Value::Number(stage)) => stage.to_string().into(),
            (_, value) => value,
        };
        // Which TOML has not: what JSON has made of it.
        if value.is_null() {
            return Err(Failure::Usage(format!(
                "{origin}: {name}: expected a finite number (a large one, for no limit)"
            )));
        }
        let done = replace(&mut self.config, name, &value)
            .or_else(|| replace(&mut self.read.cut, name, &value))
            .or_else(|| replace(&mut self.read, name, &value).filter(|_| name != "cut"))
            .or_else(|| replace(&mut self.program, name, &value));
        match done {
            Some(Ok(())) => {
                self.given.insert(name.to_owned());
                Ok(())
            }
            Some(Err(problem)) => Err(Failure::Usage(format!("{origin}: {name}: {problem}"))),
            None => {
                let instead = ELSEWHERE.iter().find(|(names, _)| names.contains(&name)).map(|(_, instead)| *instead);
                let hint = instead.unwrap_or("trajgan train --show-settings lists them");
                Err(Failure::Usage(format!("{origin}: {name}: no such setting ({hint})")))
            }
        }
    }

    /// Takes over what only the data can say, unless it was set.
    pub fn fit(&mut self, data: &Dataset) {
        if !self.given.contains("condition_dim") {
            self.config.condition_dim = data.taught(&self.config);
        }
        if !self.given.contains("feature_dim") {
            self.config.feature_dim = data.feature_dim();
        }
    }

    /// What the command line names, else what the file names.
    pub fn data(&self, argument: Option<&Path>) -> Result<PathBuf> {
        let path = argument.map(Path::to_owned).or_else(|| self.program.data_dir.clone());
        path.ok_or_else(|| Failure::Usage("no data: name a file or folder of recordings, or set data_dir".into()))
    }

    pub fn checkpoints(&self, argument: Option<&Path>) -> PathBuf {
        let path = argument.map(Path::to_owned).or_else(|| self.program.checkpoint_dir.clone());
        path.unwrap_or_else(|| "checkpoints".into())
    }

    /// As in the file.
    pub fn stage(&self) -> Option<&str> {
        self.program.stage.as_deref()
    }

    /// Remembers for config.toml what the command line said.
    pub fn remember(&mut self, data: &Path, stage: &str) {
        // A run is resumed from any folder. If there is no current one, the path as given is the best there is.
        let data = std::path::absolute(data).unwrap_or_else(|_| data.to_owned());
        self.program.data_dir = Some(shown(&data).into());
        self.program.stage = Some(stage.to_owned());
        self.program.config_preset = None;
    }

    /// All settings as a file that `--config` reads.
    pub fn to_toml(&self) -> Result<String> {
        let broken = |e: &dyn std::fmt::Display| Failure::Usage(format!("settings cannot be written as TOML: {e}"));
        // TOML's whole numbers end at 2^63: a larger seed is written as text.
        let seed = self.config.seed;
        let seed = i64::try_from(seed).map_or_else(|_| seed.to_string().into(), toml::Value::from);
        let mut table = toml::Table::try_from(Config { seed: 0, ..self.config.clone() }).map_err(|e| broken(&e))?;
        table.insert("seed".into(), seed);
        let mut read = toml::Table::try_from(&self.read).map_err(|e| broken(&e))?;
        if let Some(toml::Value::Table(cut)) = read.remove("cut") {
            read.extend(cut);
        }
        table.extend(read);
        table.extend(toml::Table::try_from(&self.program).map_err(|e| broken(&e))?);
        toml::to_string(&table).map_err(|e| broken(&e))
    }
}

/// Where settings are declared, each below what it means.
const DECLARATIONS: [&str; 3] =
    [include_str!("../../config.rs"), include_str!("../../data/readers.rs"), include_str!("../../data/readers/cut.rs")];

/// A file of settings with what each means above it, where its name does not say that.
pub fn explained(toml: &str) -> String {
    let mut out = String::new();
    for line in toml.lines() {
        let declared = line.split_once(" = ").map(|(name, _)| format!("    pub {name}: ")).unwrap_or_default();
        let before = DECLARATIONS.iter().filter(|_| !declared.is_empty()).find_map(|text| text.split_once(&declared));
        let mut meaning: Vec<&str> = before
            .iter()
            .flat_map(|(text, _)| text.lines().rev())
            .map_while(|line| line.trim().strip_prefix("///"))
            .collect();
        meaning.reverse();
        meaning.iter().for_each(|words| out.extend(["#", words, "\n"]));
        out.extend([line, "\n"]);
    }
    out
}

/// Names of the original's CONFIG that are no settings here, and what does it.
const ELSEWHERE: [(&[&str], &str); 8] = [
    (&["device"], "say --device"),
    (&["num_workers"], "say --threads"),
    (&["auto_name_runs", "run_name"], "say --name; without it the name is the time"),
    (&["stage1_checkpoint"], "say train --stage 2 --from MODEL"),
    (&["resume_checkpoint"], "say resume RUN"),
    (&["eval_checkpoint"], "say --model to evaluate and generate"),
    (&["n_samples", "seq_len"], "say --count and --seq-len to generate"),
    (&["viz_n_samples", "viz_show_plot"], "say --rows to plot compare; pictures are files"),
];

fn read_table(path: &Path) -> Result<serde_json::Map<String, Value>> {
    let text = read_text(path)?;
    let wrong = |e: &dyn std::fmt::Display| Failure::Usage(format!("{}: {e}", path.display()));
    let table: toml::Table = text.parse().map_err(|e| wrong(&e))?;
    match serde_json::to_value(table).map_err(|e| wrong(&e))? {
        Value::Object(map) => Ok(map),
        _ => Ok(serde_json::Map::new()),
    }
}

/// Sets one field by its name. None: there is no such field.
fn replace<T: Serialize + DeserializeOwned>(
    target: &mut T,
    name: &str,
    value: &Value,
) -> Option<std::result::Result<(), String>> {
    let mut fields = serde_json::to_value(&*target).ok()?;
    *fields.get_mut(name)? = value.clone();
    Some(serde_json::from_value(fields).map(|changed| *target = changed).map_err(|e| e.to_string()))
}
