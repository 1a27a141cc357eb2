//! The program. One file per command; what commands share is in the files named after it.

mod console;
mod demo;
mod evaluate;
mod export;
mod failure;
mod generate;
mod hardware;
mod inspect;
mod output;
mod path;
mod plot;
mod prepare;
mod recordings;
mod resume;
mod run_folder;
mod runs;
mod settings;
mod toy;
mod train;
mod training;
mod validate;

use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Parser, Subcommand};

use failure::Failure;

/// Learns pointer movements from recordings and makes new ones.
#[derive(Parser)]
#[command(
    version,
    after_help = "Exit codes: 0 done, 1 the work failed or was stopped, 2 wrong flags, missing files or unwritable folders.
Example: trajgan train recordings/ && trajgan generate --model checkpoints/run_20260131_120000 -o new.jsonl"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Prepare(prepare::Args),
    Validate(validate::Args),
    Train(train::Args),
    Resume(resume::Args),
    Generate(generate::Args),
    Path(path::Args),
    Evaluate(evaluate::Args),
    #[command(subcommand)]
    Plot(plot::Command),
    Inspect(inspect::Args),
    Export(export::Args),
    #[command(subcommand)]
    Runs(runs::Command),
    Demo(demo::Args),
}

fn main() -> ExitCode {
    console::survive_long_files();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return refuse(&error),
    };
    let done = match cli.command {
        Command::Prepare(args) => prepare::run(&args),
        Command::Validate(args) => validate::run(&args),
        Command::Train(args) => train::run(&args),
        Command::Resume(args) => resume::run(&args),
        Command::Generate(args) => generate::run(&args),
        Command::Path(args) => path::run(&args),
        Command::Evaluate(args) => evaluate::run(&args),
        Command::Plot(command) => plot::run(&command),
        Command::Inspect(args) => inspect::run(&args),
        Command::Export(args) => export::run(&args),
        Command::Runs(command) => runs::run(&command),
        Command::Demo(args) => demo::run(&args),
    };
    exit(done.and_then(|()| console::finish()))
}

fn exit(done: failure::Result<()>) -> ExitCode {
    done.map_or_else(|failure| failure.report(), |()| ExitCode::SUCCESS)
}

/// Help and version go to stdout; wrong flags are one line on stderr.
fn refuse(error: &clap::Error) -> ExitCode {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        console::written(error.print());
        return exit(console::finish());
    }
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        return Failure::Usage("no command given, see trajgan --help".into()).report();
    }
    let text = error.render().to_string();
    // What is wrong and tips; not the usage that clap adds.
    let parts = text.split("\n\n").filter(|part| !part.starts_with("Usage:") && !part.starts_with("For more"));
    let parts: Vec<String> = parts.map(|part| part.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    let line = parts.join("; ");
    Failure::Usage(line.trim_start_matches("error: ").trim_end_matches("; ").to_owned()).report()
}
