//! A continuous recording as CSV with named columns, the Balabit session form included.

use std::collections::BTreeMap;
use std::path::Path;

use super::cut::{Event, fault, is_position, runs};
use super::{Found, Lines, ReadOptions, in_file, open};
use crate::data::features::check_range;
use crate::data::{Movement, Point};
use crate::error::{Error, Result, afford, try_push};

/// Of one file: days at any sampling rate. What a file unpacks to must not fill the memory.
const MAX_ROWS: usize = 1 << 23;

/// Which column holds what.
struct Columns {
    t: usize,
    /// Milliseconds in a unit of t.
    unit: f64,
    /// The Balabit form: seconds with the rounding errors of a difference, from a clock of whole ms.
    balabit: bool,
    x: usize,
    y: usize,
    button: Option<usize>,
    state: Option<usize>,
    session: Option<usize>,
    user: Option<usize>,
}

/// Reads a recording and cuts each of its sessions into movements. A broken row ends the movement it is in, as
/// does a clock that starts again.
pub(super) fn read(path: &Path, options: &ReadOptions, found: &mut Found) -> Result<()> {
    let mut lines = open(path, options)?;
    let mut line = Vec::new();
    lines.next(&mut line)?;
    let header = std::str::from_utf8(&line).map_err(|e| Error::format(path, "line 1", e))?;
    let columns = columns(header.trim_start_matches('\u{feff}'), path, options)?;
    let sessions = rows(&mut lines, &columns, path, found)?;
    let (folder_user, file_session) = names(path, columns.balabit);
    for ((user, session), events) in &sessions {
        // Runs, their steps' times, and points, some of them twice.
        afford(4 * size_of_val(events.as_slice()), "a session's movements")?;
        for event in events.iter().filter(|e| e.moving && !is_position(e, &options.cut)) {
            let source = || format!("{}: line {}", path.display(), event.line);
            let reason = || format!("not a position: {}, {}", event.point.x, event.point.y);
            found.report.reject("not a position", source, reason);
        }
        for run in runs(events, &options.cut) {
            let source = || format!("{}: line {}", path.display(), run.line);
            let count = run.points.len();
            let Ok(mut movement) = Movement::new(run.points) else {
                // Numbers are finite and times rise: all that is left to refuse are fewer than 3 points.
                found.report.reject("too few points", source, || format!("too few points: {count}"));
                continue;
            };
            // Whatever the rules allow, features of it must be numbers.
            if let Err(error) = check_range(&movement.points) {
                found.refuse("out of range", in_file(path, &format!("line {}", run.line), error));
                continue;
            }
            if let Some((kind, reason)) = fault(&movement, &options.cut) {
                found.report.reject(kind, source, || reason);
                continue;
            }
            movement.user = user.clone().or_else(|| folder_user.clone());
            movement.session = session.clone().or_else(|| Some(file_session.clone()));
            found.add((movement, None), path, &format!("line {}", run.line))?;
        }
    }
    Ok(())
}

/// User and session of a file whose rows do not name them: the file is a session, told from others by its path; in the Balabit
/// form, where names are numbered, by its name, and its folder is a user.
fn names(path: &Path, balabit: bool) -> (Option<String>, String) {
    let folder = path.parent().and_then(Path::file_name).map(|n| n.to_string_lossy().into_owned());
    if balabit {
        let file = path.file_name().unwrap_or_default().to_string_lossy();
        return (folder, file.split('.').next().unwrap_or_default().to_owned());
    }
    let whole = path.to_string_lossy();
    let whole = whole.strip_suffix(".gz").unwrap_or(&whole);
    (None, whole.strip_suffix(".csv").unwrap_or(whole).to_owned())
}

fn columns(header: &str, path: &Path, options: &ReadOptions) -> Result<Columns> {
    let names: Vec<String> = header.split(',').map(|n| n.trim().trim_matches('"').to_lowercase()).collect();
    let find = |wanted: &[&str]| wanted.iter().find_map(|w| names.iter().position(|n| n == w));
    let unit = if options.csv_seconds { 1000.0 } else { 1.0 };
    let balabit = find(&["client timestamp"]);
    let t = balabit.map(|t| (t, 1000.0)).or_else(|| find(&["t_ms"]).map(|t| (t, 1.0)));
    let t = t.or_else(|| find(&["t", "timestamp"]).map(|t| (t, unit)));
    let missing = |name: &str| {
        let problem = format!("no column {name} among {:.200}", header.escape_debug().to_string());
        Error::format(path, "line 1", problem)
    };
    let (t, unit) = t.ok_or_else(|| missing("t, t_ms, timestamp or client timestamp"))?;
    Ok(Columns {
        t,
        unit,
        balabit: balabit.is_some(),
        x: find(&["x"]).ok_or_else(|| missing("x"))?,
        y: find(&["y"]).ok_or_else(|| missing("y"))?,
        button: find(&["button"]),
        state: find(&["state"]),
        session: find(&["session"]),
        user: find(&["user"]),
    })
}

/// (user, session), in so far as rows name them.
type Key = (Option<String>, Option<String>);

type Sessions = BTreeMap<Key, Vec<Event>>;

/// The rows of each session in the order of the file. Rows that are none are counted.
fn rows(lines: &mut Lines, columns: &Columns, path: &Path, found: &mut Found) -> Result<Sessions> {
    let mut sessions = Sessions::new();
    let mut line = Vec::new();
    let mut key = (None, None);
    let mut empty = true;
    while lines.next(&mut line)? {
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        if lines.number > MAX_ROWS {
            return Err(Error::format(path, "rows", format!("there are more than {MAX_ROWS}")));
        }
        empty = false;
        match row(&line, columns, lines.number) {
            Ok((row_key, event)) => {
                key = row_key;
                try_push(sessions.entry(key.clone()).or_default(), event, "a recording")?;
            }
            Err((column, problem)) => {
                let place = format!("line {}: {column}", lines.number);
                found.refuse("broken row", Error::format(path, place, problem));
                // What comes after it does not belong to what came before.
                let events = sessions.get_mut(&key);
                if let Some((events, last)) = events.and_then(|events| events.last().copied().map(|e| (events, e))) {
                    events.push(Event { moving: false, ..last });
                }
            }
        }
    }
    if empty {
        return Err(Error::format(path, "rows", "there are none"));
    }
    Ok(sessions)
}

fn row(line: &[u8], columns: &Columns, number: usize) -> std::result::Result<(Key, Event), (&'static str, String)> {
    let text = std::str::from_utf8(line).map_err(|e| ("text", e.to_string()))?;
    let fields: Vec<&str> = text.split(',').map(|f| f.trim().trim_matches('"')).collect();
    let field = |at: usize, name: &'static str| fields.get(at).copied().ok_or((name, "is missing".to_owned()));
    let number_at = |at: usize, name: &'static str| {
        let text = field(at, name)?;
        let value = text.parse::<f64>().ok().filter(|v| v.is_finite());
        value.ok_or_else(|| (name, format!("is {text:.40?}, expected a number")))
    };
    let t_ms = number_at(columns.t, "t")? * columns.unit;
    let t_ms = if columns.balabit { t_ms.round() } else { t_ms };
    if !t_ms.is_finite() {
        return Err(("t", "is out of range".into()));
    }
    let point = Point { x: number_at(columns.x, "x")?, y: number_at(columns.y, "y")?, t_ms };
    let named = |at: Option<usize>, name| at.map(|at| field(at, name)).transpose();
    let is = |text: &str, names: &[&str]| names.iter().any(|n| n.eq_ignore_ascii_case(text));
    let moving = match (named(columns.state, "state")?, named(columns.button, "button")?) {
        (Some(state), _) => is(state, &["move"]),
        (None, Some(button)) => is(button, &["nobutton", "none", "0", ""]),
        (None, None) => true,
    };
    let key = (named(columns.user, "user")?, named(columns.session, "session")?);
    let key = (key.0.map(str::to_owned), key.1.map(str::to_owned));
    Ok((key, Event { point, moving, line: number }))
}
