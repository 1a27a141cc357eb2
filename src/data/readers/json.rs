//! `{"x":[..],"y":[..],"t":[ms..]}` with optional `user`, `session` and `condition`: one a file, or one a line.
//! Other fields are left alone. Of points of one time the last is taken, as in CSV files.

use std::path::Path;

use serde_json::{Map, Value};

use super::{Entry, Found, ReadOptions, ReadReport, in_file, open};
use crate::data::features::{check_condition, check_range};
use crate::data::{Movement, Point};
use crate::error::{Error, Result, try_push};

pub(super) fn read_json(path: &Path, options: &ReadOptions, found: &mut Found) -> Result<()> {
    let bytes = open(path, options)?.all()?;
    let entry = movement(&bytes, path, "", &mut found.report)?;
    found.add(entry, path, "")
}

/// A broken line costs that line, a broken file (not readable, not gzip, too large) all of it: nobody should
/// train on the first half of a damaged file without knowing.
pub(super) fn read_lines(path: &Path, options: &ReadOptions, found: &mut Found) -> Result<()> {
    let mut lines = open(path, options)?;
    let mut entries = Vec::new();
    let mut line = Vec::new();
    let mut empty = true;
    while lines.next(&mut line)? {
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        empty = false;
        let place = format!("line {}", lines.number);
        match movement(&line, path, &place, &mut found.report) {
            Ok(entry) => try_push(&mut entries, (entry, lines.number), "recordings")?,
            Err(error) => found.refuse("broken line", error),
        }
    }
    if empty {
        return Err(Error::format(path, "movements", "the file is empty"));
    }
    entries.into_iter().try_for_each(|(entry, line)| found.add(entry, path, &format!("line {line}")))
}

fn movement(bytes: &[u8], path: &Path, place: &str, report: &mut ReadReport) -> Result<Entry> {
    let field = |name: &str| match place {
        "" => name.to_owned(),
        place => format!("{place}: {name}"),
    };
    let value: Value = serde_json::from_slice(bytes).map_err(|e| {
        // A line of its own is line 1 to the parser.
        let at = if place.is_empty() { format!("line {} ", e.line()) } else { String::new() };
        let said = e.to_string();
        let said = said.strip_suffix(&format!(" at line {} column {}", e.line(), e.column())).unwrap_or(&said);
        Error::format(path, field("json"), format!("{said} at {at}column {}", e.column()))
    })?;
    let Value::Object(map) = value else {
        let problem = format!("is {}, expected an object with x, y and t", kind(&value));
        return Err(Error::format(path, field("json"), problem));
    };
    let list = |name: &str| numbers(&map, name).map_err(|(at, problem)| Error::format(path, field(&at), problem));
    let (x, y, t) = (list("x")?, list("y")?, list("t")?);
    for (name, values) in [("y", &y), ("t", &t)] {
        if values.len() != x.len() {
            let problem = format!("has {} numbers, expected {} as x", values.len(), x.len());
            return Err(Error::format(path, field(name), problem));
        }
    }
    let mut repeated: Vec<usize> = (1..t.len()).filter(|&i| t[i - 1] == t[i]).map(|i| i - 1).collect();
    // What is no movement either way is refused as it is recorded.
    if t.len() - repeated.len() < 3 || !t.is_sorted() {
        repeated.clear();
    }
    let kept = (0..t.len()).filter(|i| repeated.binary_search(i).is_err());
    let points = kept.map(|i| Point { x: x[i], y: y[i], t_ms: t[i] }).collect();
    let movement = Movement::new(points).and_then(|m| check_range(&m.points).map(|()| m));
    let mut movement = movement.map_err(|e| in_file(path, place, e))?;
    let name = |name: &str| text(&map, name).map_err(|problem| Error::format(path, field(name), problem));
    movement.user = name("user")?;
    movement.session = name("session")?;
    let condition = if map.contains_key("condition") { Some(list("condition")?) } else { None };
    if condition.as_ref().is_some_and(Vec::is_empty) {
        return Err(Error::format(path, field("condition"), "is empty, expected 1 or more numbers"));
    }
    check_condition(condition.as_deref().unwrap_or_default()).map_err(|e| in_file(path, place, e))?;
    for i in repeated {
        let source = || format!("{}: {}", path.display(), field(&format!("t[{i}]")));
        let reason = || format!("repeated time: {} ms, as that after it, which is taken", t[i]);
        report.reject("repeated time", source, reason);
    }
    Ok((movement, condition))
}

/// A list of finite numbers, or where it is not one and why.
fn numbers(map: &Map<String, Value>, name: &str) -> std::result::Result<Vec<f64>, (String, String)> {
    let Some(value) = map.get(name) else { return Err((name.to_owned(), "is missing".into())) };
    let Value::Array(items) = value else {
        return Err((name.to_owned(), format!("is {}, expected a list of numbers", kind(value))));
    };
    let number = |(i, item): (usize, &Value)| match item.as_f64() {
        Some(number) if number.is_finite() => Ok(number),
        _ => Err((format!("{name}[{i}]"), format!("is {}, expected a number", kind(item)))),
    };
    items.iter().enumerate().map(number).collect()
}

fn text(map: &Map<String, Value>, name: &str) -> std::result::Result<Option<String>, String> {
    match map.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(Value::Number(number)) => Ok(Some(number.to_string())),
        Some(other) => Err(format!("is {}, expected text", kind(other))),
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
