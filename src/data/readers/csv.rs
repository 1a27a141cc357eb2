//! A continuous recording as CSV with named columns, the Balabit session form included.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::cut::{Event, fault, is_position, runs};
use super::{Found, Lines, ReadOptions, in_file, open};
use crate::data::features::check_range;
use crate::data::{Movement, Point};
use crate::error::{Error, Result, afford, try_push};
use crate::order;

/// Rows of one file, in which a row takes more memory than it has bytes: a sixteenth of the bytes that it may have, within these.
/// The least are hours at any sampling rate.
const MOST_ROWS: [u64; 2] = [1 << 23, 1 << 26];

/// From the fastest pointer (8 kHz) to the slowest, the median time between rows.
const FASTEST_MS: f64 = 0.1;
const SLOWEST_MS: f64 = 1000.0;

/// Which column holds what.
struct Columns {
    /// Of all columns.
    count: usize,
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
    let columns = columns(header, path, options)?;
    let sessions = rows(&mut lines, &columns, path, found)?;
    let (folder_user, file_session) = names(path, &found.root, columns.balabit);
    let before = found.entries.len();
    for ((user, session), events) in &sessions {
        // Runs, their steps' times, and points, some of them twice.
        afford(4 * size_of_val(events.as_slice()), "a session's movements")?;
        for event in events.iter().filter(|e| e.moving && !is_position(e, &options.cut)) {
            let source = || format!("{}: line {}", path.display(), event.line);
            let (Point { x, y, .. }, most) = (event.point, options.cut.max_coordinate);
            let reason = || format!("not a position: {x}, {y}, expected below max_coordinate, {most}");
            found.report.reject("not a position", source, reason);
        }
        let report = &mut found.report;
        let runs = runs(events, &options.cut, |event| {
            let source = || format!("{}: line {}", path.display(), event.line);
            let reason = || format!("repeated time: {} ms, as the row after it, which is taken", event.point.t_ms);
            report.reject("repeated time", source, reason);
        });
        for run in runs {
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
            movement.session = Some(match session {
                None => file_session.clone(),
                // Numbers that every file begins anew are other sessions in every file, unless they are a user's.
                Some(session) if movement.user.is_none() && path != found.root => format!("{file_session}/{session}"),
                Some(session) => session.clone(),
            });
            found.add((movement, None), path, &format!("line {}", run.line))?;
        }
    }
    if found.entries.len() == before && found.hint.is_none() {
        found.hint = hint(&sessions, &columns)?;
    }
    Ok(())
}

/// What rows without a movement among them look like, where that is no recording in pixels and the unit of time they were taken for;
/// None where nothing moves.
fn hint(sessions: &Sessions, columns: &Columns) -> Result<Option<String>> {
    let rows: usize = sessions.values().map(Vec::len).sum();
    afford(size_of::<f64>() * rows, "times between rows")?;
    let (mut rises, mut earlier, mut furthest) = (Vec::with_capacity(rows), 0, None::<f64>);
    for events in sessions.values() {
        let moving = events.iter().filter(|e| e.moving).map(|e| e.point.x.abs().max(e.point.y.abs()));
        furthest = moving.fold(furthest, |most, x| Some(most.map_or(x, |most| most.max(x))));
        let steps = events.windows(2).map(|pair| pair[1].point.t_ms - pair[0].point.t_ms);
        for dt in steps.filter(|&dt| dt != 0.0) {
            if dt > 0.0 { rises.push(dt) } else { earlier += 1 }
        }
    }
    order::rise(&mut rises);
    let rise = rises.get(rises.len() / 2).copied().unwrap_or(SLOWEST_MS);
    Ok(if earlier > rows / 10 {
        Some(format!("{earlier} of {rows} rows are earlier than the one before, expected in order of time"))
    } else if !(FASTEST_MS..=SLOWEST_MS).contains(&rise) {
        let expected = if columns.unit == 1.0 { "ms, or seconds with csv_seconds" } else { "seconds" };
        let rise = (rise * 1e6).round() / 1e6;
        Some(format!("rows are {rise} ms apart at the median, expected times in {expected}"))
    } else {
        furthest.filter(|&x| x <= 1.0).map(|_| "all coordinates are from -1 to 1, expected pixels".to_owned())
    })
}

/// User and session of a file whose rows do not name them: the file is a session, told from others by its path below the
/// root that was opened, however that is spelled; in the Balabit form, where names are numbered, by its name, and its folder
/// is a user.
fn names(path: &Path, root: &Path, balabit: bool) -> (Option<String>, String) {
    let file = path.file_name().unwrap_or_default().to_string_lossy();
    if balabit {
        let session = file.split('.').next().unwrap_or_default();
        return (folder(path), session.to_owned());
    }
    let below = path.strip_prefix(root).unwrap_or(path).components();
    let below: Vec<_> = below.map(|part| part.as_os_str().to_string_lossy()).collect();
    let whole = if below.is_empty() { file.into_owned() } else { below.join("/") };
    let whole = whole.strip_suffix(".gz").unwrap_or(&whole);
    (None, whole.strip_suffix(".csv").unwrap_or(whole).to_owned())
}

/// The name of the folder that a file is in, also where the path does not say it: `session_1`, `../session_1`.
fn folder(path: &Path) -> Option<String> {
    let folder = path.parent()?;
    let name = |folder: &Path| folder.file_name().map(|name| name.to_string_lossy().into_owned());
    name(folder).or_else(|| name(&fs::canonicalize(Path::new(".").join(folder)).ok()?))
}

fn columns(header: &str, path: &Path, options: &ReadOptions) -> Result<Columns> {
    let names = fields(header).map_err(|problem| Error::format(path, "line 1", problem))?;
    let names: Vec<String> = names.into_iter().map(|name| name.to_lowercase()).collect();
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
        count: names.len(),
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

/// The rows of each session in the order of the file. Rows that are none are counted, and a file in which no row is a move:
/// it may say so in words of its own.
fn rows(lines: &mut Lines, columns: &Columns, path: &Path, found: &mut Found) -> Result<Sessions> {
    let mut sessions = Sessions::new();
    let mut line = Vec::new();
    let mut key = (None, None);
    let (mut empty, mut moved, mut first_press) = (true, false, None);
    let mut pointer_event = false;
    while lines.next(&mut line)? {
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let most = (lines.max_bytes / 16).clamp(MOST_ROWS[0], MOST_ROWS[1]);
        if lines.number as u64 > most {
            return Err(Error::format(path, "rows", format!("there are more than {most}")));
        }
        empty = false;
        match row(&line, columns, lines.number, &mut pointer_event) {
            Ok(Row { key: row_key, event, press }) => {
                key = row_key;
                moved |= event.moving;
                first_press = first_press.or_else(|| press.map(|press| (event.line, press)));
                try_push(sessions.entry(key.clone()).or_default(), event, "a recording")?;
            }
            Err(Broken { column, problem, key: row_key }) => {
                let place = match column {
                    "" => format!("line {}", lines.number),
                    column => format!("line {}: {column}", lines.number),
                };
                found.refuse("broken row", Error::format(path, place, problem));
                // What comes after it does not belong to what came before, in its session or else in that of the row before.
                let events = sessions.get_mut(row_key.as_ref().unwrap_or(&key));
                if let Some((events, last)) = events.and_then(|events| events.last().copied().map(|e| (events, e))) {
                    events.push(Event { moving: false, ..last });
                }
            }
        }
    }
    if empty {
        return Err(Error::format(path, "rows", "there are none"));
    }
    if let Some((line, press)) = first_press.filter(|_| !moved) {
        found.report.reject("no moves", || format!("{}: line {line}", path.display()), || press);
    }
    Ok(sessions)
}

struct Row {
    key: Key,
    event: Event,
    /// What the row has in place of a move.
    press: Option<String>,
}

struct Broken {
    /// Nothing where it is the whole row.
    column: &'static str,
    problem: String,
    /// Where the row says that much.
    key: Option<Key>,
}

/// pointer_event: whether a button of -1 has been seen, which is none for browsers' PointerEvent, whose 0 is the left one.
fn row(line: &[u8], columns: &Columns, number: usize, pointer_event: &mut bool) -> std::result::Result<Row, Broken> {
    let whole = |problem: String| Broken { column: "", problem, key: None };
    let text = std::str::from_utf8(line).map_err(|e| Broken { column: "text", ..whole(e.to_string()) })?;
    let fields = fields(text).map_err(|problem| whole(problem.to_owned()))?;
    if fields.iter().skip(columns.count).any(|field| !field.is_empty()) {
        return Err(whole(format!("has {} fields, expected {} as in line 1", fields.len(), columns.count)));
    }
    let key = key(&fields, columns).map_err(|column| Broken { column, ..whole("is missing".into()) })?;
    match event(&fields, columns, number, pointer_event) {
        Ok((event, press)) => Ok(Row { key, event, press }),
        Err((column, problem)) => Err(Broken { column, problem, key: Some(key) }),
    }
}

/// Or which column is missing. A name that is empty is none.
fn key(fields: &[Cow<str>], columns: &Columns) -> std::result::Result<Key, &'static str> {
    let named = |at: Option<usize>, name| match at {
        Some(at) => fields.get(at).ok_or(name).map(|text| Some(text.to_string()).filter(|text| !text.is_empty())),
        None => Ok(None),
    };
    Ok((named(columns.user, "user")?, named(columns.session, "session")?))
}

/// A row's event, and what it has in place of a move; or which column is wrong, and how.
fn event(
    fields: &[Cow<str>],
    columns: &Columns,
    number: usize,
    pointer_event: &mut bool,
) -> std::result::Result<(Event, Option<String>), (&'static str, String)> {
    let field = |at: usize, name: &'static str| fields.get(at).map(Cow::as_ref).ok_or((name, "is missing".to_owned()));
    let number_at = |at: usize, name: &'static str| {
        let text = field(at, name)?;
        let value = text.parse::<f64>().ok().filter(|v| v.is_finite());
        value.ok_or_else(|| (name, format!("is {}, expected a number", quoted(text))))
    };
    let t_ms = number_at(columns.t, "t")? * columns.unit;
    let t_ms = if columns.balabit { t_ms.round() } else { t_ms };
    if !t_ms.is_finite() {
        return Err(("t", "is out of range".into()));
    }
    let point = Point { x: number_at(columns.x, "x")?, y: number_at(columns.y, "y")?, t_ms };
    let named = |at: Option<usize>, name| at.map(|at| field(at, name)).transpose();
    let is = |text: &str, names: &[&str]| names.iter().any(|n| n.eq_ignore_ascii_case(text));
    let press = match (named(columns.state, "state")?, named(columns.button, "button")?) {
        (Some(state), _) if !is(state, &["move"]) => Some(format!("state is {}, expected \"move\"", quoted(state))),
        (None, Some("-1")) => {
            *pointer_event = true;
            None
        }
        (None, Some(button)) if *pointer_event && button == "0" || !is(button, &["nobutton", "none", "0", ""]) => {
            Some(format!("button is {}, expected NoButton, none, nothing, or -1 or else 0", quoted(button)))
        }
        _ => None,
    };
    Ok((Event { point, moving: press.is_none(), line: number }, press))
}

/// Between commas, without the blanks around them. A comma in double quotes is a part of a field; there, two quotes are one.
fn fields(line: &str) -> std::result::Result<Vec<Cow<'_, str>>, &'static str> {
    // No more: a line of commas is paid for as any other.
    let mut fields = Vec::with_capacity(line.matches(',').count() + 1);
    if !line.contains('"') {
        fields.extend(line.split(',').map(|field| Cow::from(field.trim())));
        return Ok(fields);
    }
    let (mut field, mut open) = (String::new(), false);
    let mut rest = line.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '"' if open && rest.next_if_eq(&'"').is_some() => field.push('"'),
            '"' => open = !open,
            ',' if !open => {
                fields.push(Cow::from(field.trim().to_owned()));
                field.clear();
            }
            c => field.push(c),
        }
    }
    fields.push(Cow::from(field.trim().to_owned()));
    if open { Err("has a quote that does not end") } else { Ok(fields) }
}

/// As much of a field as a message needs.
fn quoted(text: &str) -> String {
    format!("{:?}", text.chars().take(40).collect::<String>())
}
