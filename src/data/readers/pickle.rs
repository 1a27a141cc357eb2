//! The one kind of pickle that a V4 folder has: numpy.save of a dict of floats. A pickle is a program for a
//! stack machine; this one knows the instructions NumPy writes and the four functions such an array is made
//! with, and runs nothing. Values live in one list and refer to each other by index, so that deep nesting and shared
//! values cost little more than the file is long; names, which are copied, and results are bounded.

use std::collections::{BTreeMap, HashMap};
use std::io::Read;
use std::path::Path;

use super::npy;
use crate::error::{Error, Result};

/// NumPy's own file has 909 bytes.
const MAX_BYTES: u64 = 1 << 20;

/// Its longest name, of a module, has 22.
const MAX_NAME: usize = 64;

/// It has 34. One inner dict may stand under many names.
const MAX_NUMBERS: usize = 1000;

#[derive(Clone, Debug)]
enum Node {
    None,
    Bool,
    Int(i64),
    Float(f64),
    Text(String),
    Bytes(Vec<u8>),
    Tuple(Vec<usize>),
    List(Vec<usize>),
    Dict(Vec<(usize, usize)>),
    Global(String),
    /// numpy.dtype(name)
    Type(String),
    /// An array, and what BUILD gave it.
    Array(Option<usize>),
}

/// The numbers of a dict in a 0-dimensional object array, those of a dict within it as `outer.inner`.
pub(super) fn read_numbers(path: &Path) -> Result<BTreeMap<String, f64>> {
    let (header, file, rest) = npy::open(path)?;
    if header.descr != "|O" || !header.shape.is_empty() {
        let problem = format!("is {:.20?} {:?}, expected one pickled dict", header.descr, header.shape);
        return Err(Error::format(path, "dtype", problem));
    }
    if rest > MAX_BYTES {
        return Err(Error::format(path, "pickle", format!("has {rest} bytes, expected up to {MAX_BYTES}")));
    }
    let mut bytes = Vec::new();
    file.take(MAX_BYTES).read_to_end(&mut bytes).map_err(|e| Error::io(path, e))?;
    numbers(&bytes).map_err(|problem| Error::format(path, "pickle", problem))
}

fn numbers(bytes: &[u8]) -> std::result::Result<BTreeMap<String, f64>, String> {
    let mut machine = Machine { rest: bytes, ..Machine::default() };
    let top = machine.run()?;
    let nodes = &machine.nodes;
    let Node::Array(Some(state)) = nodes[top] else { return Err("holds no array, expected a dict in one".into()) };
    let items = match &nodes[state] {
        Node::Tuple(state) if state.len() == 5 => match &nodes[state[4]] {
            Node::List(items) if items.len() == 1 => items,
            _ => return Err("holds an array without its one dict".into()),
        },
        _ => return Err("holds an array without contents".into()),
    };
    let Node::Dict(dict) = &nodes[items[0]] else { return Err("holds no dict".into()) };
    let mut found = BTreeMap::new();
    for &(key, value) in dict {
        let name = text(nodes, key)?;
        match &nodes[value] {
            Node::Dict(inner) => {
                for &(key, value) in inner {
                    let name = format!("{name}.{}", text(nodes, key)?);
                    found.insert(name.clone(), number(nodes, value, &name)?);
                    if found.len() > MAX_NUMBERS {
                        return Err(format!("has more than {MAX_NUMBERS} numbers"));
                    }
                }
            }
            _ => {
                found.insert(name.to_owned(), number(nodes, value, name)?);
            }
        }
    }
    Ok(found)
}

fn text(nodes: &[Node], at: usize) -> std::result::Result<&str, String> {
    match &nodes[at] {
        Node::Text(text) => Ok(text),
        _ => Err("has a key that is not text".into()),
    }
}

fn number(nodes: &[Node], at: usize, name: &str) -> std::result::Result<f64, String> {
    match nodes[at] {
        Node::Float(value) if value.is_finite() => Ok(value),
        Node::Int(value) => Ok(value as f64),
        _ => Err(format!("{name:.60} is not a finite number")),
    }
}

#[derive(Default)]
struct Machine<'a> {
    rest: &'a [u8],
    nodes: Vec<Node>,
    stack: Vec<usize>,
    marks: Vec<usize>,
    memo: HashMap<usize, usize>,
}

type Step<T> = std::result::Result<T, String>;

impl<'a> Machine<'a> {
    fn run(&mut self) -> Step<usize> {
        loop {
            let code = self.take(1)?[0];
            if code == b'.' {
                return self.pop();
            }
            if !self.constant(code)? && !self.container(code)? && !self.other(code)? {
                return Err(format!("has instruction {code:#04x}, which no dict of numbers needs"));
            }
        }
    }

    /// Instructions that put one value on the stack.
    fn constant(&mut self, code: u8) -> Step<bool> {
        let node = match code {
            b'N' => Node::None,
            0x88 | 0x89 => Node::Bool,
            b'J' => Node::Int(i64::from(self.word()? as i32)),
            b'K' => Node::Int(i64::from(self.take(1)?[0])),
            b'M' => Node::Int(i64::from(self.take(1)?[0]) | i64::from(self.take(1)?[0]) << 8),
            0x8a => {
                let length = usize::from(self.take(1)?[0]);
                let bytes = self.take(length)?;
                let sign = if bytes.last().is_some_and(|b| b & 0x80 != 0) { 0xff } else { 0 };
                let mut word = [sign; 8];
                word.get_mut(..length).ok_or("has an integer above 64 bits")?.copy_from_slice(bytes);
                Node::Int(i64::from_le_bytes(word))
            }
            b'G' => Node::Float(f64::from_be_bytes(eight(self.take(8)?)?)),
            0x8c => {
                let length = usize::from(self.take(1)?[0]);
                self.string(length)?
            }
            b'X' => {
                let length = self.word()? as usize;
                self.string(length)?
            }
            b'C' => {
                let length = usize::from(self.take(1)?[0]);
                Node::Bytes(self.take(length)?.to_vec())
            }
            b'B' => {
                let length = self.word()? as usize;
                Node::Bytes(self.take(length)?.to_vec())
            }
            b')' => Node::Tuple(Vec::new()),
            b']' => Node::List(Vec::new()),
            b'}' => Node::Dict(Vec::new()),
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                Node::Global(format!("{module}.{name}"))
            }
            _ => return Ok(false),
        };
        self.push(node);
        Ok(true)
    }

    fn container(&mut self, code: u8) -> Step<bool> {
        match code {
            b'(' => self.marks.push(self.stack.len()),
            b't' => {
                let items = self.pop_mark()?;
                self.push(Node::Tuple(items));
            }
            0x85..=0x87 => {
                let first = self.stack.len().checked_sub(usize::from(code - 0x84)).ok_or(UNDERFLOW)?;
                let items = self.stack.split_off(first);
                self.push(Node::Tuple(items));
            }
            b'a' | b'e' => {
                let items = if code == b'a' { vec![self.pop()?] } else { self.pop_mark()? };
                match self.top()? {
                    Node::List(list) => list.extend(items),
                    _ => return Err("appends to what is no list".into()),
                }
            }
            b's' | b'u' => {
                let items = match code {
                    b's' => self.stack.len().checked_sub(2).map(|at| self.stack.split_off(at)).ok_or(UNDERFLOW)?,
                    _ => self.pop_mark()?,
                };
                match self.top()? {
                    Node::Dict(dict) => dict.extend(items.chunks_exact(2).map(|kv| (kv[0], kv[1]))),
                    _ => return Err("sets items of what is no dict".into()),
                }
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn other(&mut self, code: u8) -> Step<bool> {
        match code {
            0x80 => drop(self.take(1)?),
            0x95 => drop(self.take(8)?),
            0x94 => self.remember(self.memo.len())?,
            b'q' => {
                let at = usize::from(self.take(1)?[0]);
                self.remember(at)?;
            }
            b'r' => {
                let at = self.word()? as usize;
                self.remember(at)?;
            }
            b'h' | b'j' => {
                let at = if code == b'h' { usize::from(self.take(1)?[0]) } else { self.word()? as usize };
                self.stack.push(*self.memo.get(&at).ok_or("recalls what it never remembered")?);
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                let name = format!("{}.{}", text(&self.nodes, module)?, text(&self.nodes, name)?);
                self.push(Node::Global(name));
            }
            b'R' => {
                let (arguments, function) = (self.pop()?, self.pop()?);
                let node = self.call(function, arguments)?;
                self.push(node);
            }
            b'b' => {
                let state = self.pop()?;
                match self.top()? {
                    Node::Array(contents) => *contents = Some(state),
                    Node::Type(_) => {}
                    _ => return Err("builds what is neither array nor dtype".into()),
                }
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Stands in for a call: what NumPy's own functions would give, and nothing else is known.
    fn call(&self, function: usize, arguments: usize) -> Step<Node> {
        let (Node::Global(name), Node::Tuple(arguments)) = (&self.nodes[function], &self.nodes[arguments]) else {
            return Err("calls what is no function".into());
        };
        let argument = |i: usize| arguments.get(i).map(|&at| &self.nodes[at]);
        match name.as_str() {
            "numpy.core.multiarray._reconstruct" | "numpy._core.multiarray._reconstruct" => Ok(Node::Array(None)),
            "numpy.dtype" => match argument(0) {
                Some(Node::Text(name)) => Ok(Node::Type(name.clone())),
                _ => Err("has a dtype without a name".into()),
            },
            "numpy.core.multiarray.scalar" | "numpy._core.multiarray.scalar" => match (argument(0), argument(1)) {
                (Some(Node::Type(name)), Some(Node::Bytes(bytes))) => scalar(name, bytes),
                _ => Err("has a NumPy scalar without type or value".into()),
            },
            name => Err(format!("calls {name:.100}, which is refused: nothing in a pickle is run")),
        }
    }

    fn push(&mut self, node: Node) {
        self.stack.push(self.nodes.len());
        self.nodes.push(node);
    }

    fn pop(&mut self) -> Step<usize> {
        self.stack.pop().ok_or_else(|| UNDERFLOW.to_owned())
    }

    fn top(&mut self) -> Step<&mut Node> {
        let at = *self.stack.last().ok_or(UNDERFLOW)?;
        Ok(&mut self.nodes[at])
    }

    fn pop_mark(&mut self) -> Step<Vec<usize>> {
        let at = self.marks.pop().filter(|&at| at <= self.stack.len()).ok_or(UNDERFLOW)?;
        Ok(self.stack.split_off(at))
    }

    fn remember(&mut self, at: usize) -> Step<()> {
        let top = *self.stack.last().ok_or(UNDERFLOW)?;
        self.memo.insert(at, top);
        Ok(())
    }

    fn take(&mut self, n: usize) -> Step<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(n).ok_or("ends in the middle of a value")?;
        self.rest = rest;
        Ok(taken)
    }

    fn word(&mut self) -> Step<u32> {
        let mut word = [0; 4];
        word.copy_from_slice(self.take(4)?);
        Ok(u32::from_le_bytes(word))
    }

    fn string(&mut self, length: usize) -> Step<Node> {
        Ok(Node::Text(name(self.take(length)?)?))
    }

    fn line(&mut self) -> Step<String> {
        let end = self.rest.iter().position(|&b| b == b'\n').ok_or("ends in the middle of a name")?;
        let line = name(&self.rest[..end])?;
        self.rest = &self.rest[end + 1..];
        Ok(line)
    }
}

fn name(bytes: &[u8]) -> Step<String> {
    if bytes.len() > MAX_NAME {
        return Err(format!("has a text of {} bytes, expected names of up to {MAX_NAME}", bytes.len()));
    }
    Ok(std::str::from_utf8(bytes).map_err(|e| e.to_string())?.to_owned())
}

const UNDERFLOW: &str = "takes more from its stack than there is";

fn eight(bytes: &[u8]) -> Step<[u8; 8]> {
    bytes.try_into().map_err(|_| "has a scalar of the wrong size".to_owned())
}

fn scalar(name: &str, bytes: &[u8]) -> Step<Node> {
    let four = || <[u8; 4]>::try_from(bytes).map_err(|_| "has a scalar of the wrong size".to_owned());
    match name {
        "f8" => Ok(Node::Float(f64::from_le_bytes(eight(bytes)?))),
        "f4" => Ok(Node::Float(f64::from(f32::from_le_bytes(four()?)))),
        "i8" => Ok(Node::Int(i64::from_le_bytes(eight(bytes)?))),
        "i4" => Ok(Node::Int(i64::from(i32::from_le_bytes(four()?)))),
        other => Err(format!("has a NumPy scalar of type {other:.20}, expected f8, f4, i8 or i4")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_call_is_named_and_refused() {
        let calls: [&[u8]; 2] = [
            b"\x80\x04\x8c\x05posix\x94\x8c\x06system\x94\x93\x94\x8c\x04true\x94\x85\x94R\x94.",
            b"cposix\nsystem\n(X\x04\x00\x00\x00truetR.",
        ];
        for bytes in calls {
            assert!(numbers(bytes).unwrap_err().starts_with("calls posix.system"));
        }
    }

    #[test]
    fn every_truncation_and_deep_nesting_are_errors() {
        let good = dict(b"\x8c\x01aG\x3f\xf0\x00\x00\x00\x00\x00\x00");
        assert_eq!(numbers(&good).unwrap(), BTreeMap::from([("a".to_owned(), 1.0)]));
        for end in 0..good.len() {
            assert!(numbers(&good[..end]).is_err(), "{end}");
        }
        let mut deep = b")".to_vec();
        deep.extend(std::iter::repeat_n(0x85, 1_000_000));
        deep.push(b'.');
        assert!(numbers(&deep).is_err());
        let not_finite = dict(b"\x8c\x01aG\x7f\xf8\x00\x00\x00\x00\x00\x00");
        assert_eq!(numbers(&not_finite).unwrap_err(), "a is not a finite number");
    }

    /// Files of which every few bytes would copy what came before.
    #[test]
    fn what_grows_without_end_is_refused() {
        let mut long = b"\x80\x04X\xe8\x03\x00\x00".to_vec();
        long.extend([b'a'; 1000]);
        assert_eq!(numbers(&long).unwrap_err(), "has a text of 1000 bytes, expected names of up to 64");
        // {name k: the same dict of 100 numbers}, 100 times.
        let mut many = b"\x8c\x02ab}\x94(".to_vec();
        (0..100).for_each(|i| many.extend([0x8c, 2, b'0' + i / 10, b'0' + i % 10, b'K', 1]));
        many.push(b'u');
        (0..100).for_each(|i| many.extend([0x8c, 2, b'0' + i / 10, b'0' + i % 10, b'h', 0]));
        assert_eq!(numbers(&dict(&many)).unwrap_err(), "has more than 1000 numbers");
    }

    /// A float64 of NumPy's own, as older scripts save them.
    #[test]
    fn numpy_scalars_are_numbers() {
        let scalar =
            b"\x8c\x01acnumpy.core.multiarray\nscalar\ncnumpy\ndtype\n\x8c\x02f8\x85RC\x08\0\0\0\0\0\0\x04\x40\x86R";
        assert_eq!(numbers(&dict(scalar)).unwrap()["a"], 2.5);
    }

    /// An array of one dict with the given items.
    fn dict(items: &[u8]) -> Vec<u8> {
        let mut bytes = b"\x80\x04cnumpy._core.multiarray\n_reconstruct\n)R(K\x01)N\x89]}(".to_vec();
        bytes.extend(items);
        bytes.extend(b"uatb.");
        bytes
    }
}
