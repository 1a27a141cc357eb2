//! .npy arrays of numbers: little endian, C order, versions 1 to 3 (numpy.lib.format). Read here and not by
//! ndarray-npy, whose header parser recurses as deep as the file says and reserves what its header claims.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::error::{Error, Result, try_zeroed};
use crate::files::open_regular;

const MAX_HEADER: usize = 1 << 16;
const MAX_DIMS: usize = 8;

/// The header of an array file.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Header {
    /// Such as `<f4`, or `|O` for a pickled object.
    pub descr: String,
    pub fortran: bool,
    pub shape: Vec<usize>,
}

/// What an array may hold.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Values {
    F32(Vec<f32>),
    F64(Vec<f64>),
    Whole(Vec<i64>),
}

pub(crate) const FLOATS: [&str; 2] = ["<f4", "<f8"];
pub(crate) const WHOLE: [&str; 8] = ["|i1", "|u1", "<i2", "<u2", "<i4", "<u4", "<i8", "<u8"];

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Array {
    pub shape: Vec<usize>,
    pub values: Values,
}

/// Opens a file and reads its header; what is left of the file comes with it, and how many bytes that is.
pub(crate) fn open(path: &Path) -> Result<(Header, File, u64)> {
    let (mut file, size) = open_regular(path)?;
    let bad = |problem: String| Error::format(path, "header", problem);
    let mut read = |bytes: &mut [u8]| file.read_exact(bytes).map_err(|_| bad("the file ends in it".into()));
    let mut start = [0; 8];
    read(&mut start)?;
    if &start[..6] != b"\x93NUMPY" {
        return Err(bad("is not that of an .npy file".into()));
    }
    let (length, width) = match start[6] {
        1 => {
            let mut bytes = [0; 2];
            read(&mut bytes)?;
            (usize::from(u16::from_le_bytes(bytes)), 2)
        }
        2 | 3 => {
            let mut bytes = [0; 4];
            read(&mut bytes)?;
            (u32::from_le_bytes(bytes) as usize, 4)
        }
        version => return Err(bad(format!("version is {version}, expected 1 to 3"))),
    };
    if length > MAX_HEADER {
        return Err(bad(format!("is {length} bytes long, expected up to {MAX_HEADER}")));
    }
    let mut text = vec![0; length];
    read(&mut text)?;
    let text = std::str::from_utf8(&text).map_err(|e| bad(e.to_string()))?;
    let header = parse(text).map_err(bad)?;
    let rest = size.saturating_sub(8 + width + length as u64);
    Ok((header, file, rest))
}

/// A Python dict with exactly the keys descr, fortran_order and shape.
fn parse(text: &str) -> std::result::Result<Header, String> {
    let show = || format!("{:.80?} is not a description of an array", text.trim_end());
    let mut rest = text.trim().strip_prefix('{').and_then(|t| t.strip_suffix('}')).ok_or_else(show)?.trim();
    let (mut descr, mut fortran, mut shape) = (None, None, None);
    while !rest.is_empty() {
        let (key, after) = quoted(rest).ok_or_else(show)?;
        let value = after.trim_start().strip_prefix(':').ok_or_else(show)?.trim_start();
        rest = match key {
            "descr" => {
                let (text, after) = quoted(value).ok_or("descr is a list, expected one type of number")?;
                descr = Some(text.to_owned());
                after
            }
            "fortran_order" => {
                let (flag, after) = [("True", true), ("False", false)]
                    .into_iter()
                    .find_map(|(word, flag)| value.strip_prefix(word).map(|after| (flag, after)))
                    .ok_or("fortran_order is neither True nor False")?;
                fortran = Some(flag);
                after
            }
            "shape" => {
                let (list, after) =
                    value.strip_prefix('(').and_then(|v| v.split_once(')')).ok_or("shape is no tuple")?;
                shape = Some(extents(list)?);
                after
            }
            other => return Err(format!("has an unexpected key {other:.40?}")),
        };
        rest = rest.trim_start();
        rest = rest.strip_prefix(',').unwrap_or(rest).trim_start();
    }
    Ok(Header {
        descr: descr.ok_or("descr is missing")?,
        fortran: fortran.ok_or("fortran_order is missing")?,
        shape: shape.ok_or("shape is missing")?,
    })
}

fn quoted(text: &str) -> Option<(&str, &str)> {
    let quote = text.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
    text[1..].split_once(quote)
}

fn extents(list: &str) -> std::result::Result<Vec<usize>, String> {
    let list = list.trim();
    let list = list.strip_suffix(',').unwrap_or(list);
    if list.is_empty() {
        return Ok(Vec::new());
    }
    let extents = list.split(',').map(|n| n.trim().trim_end_matches('L').parse::<usize>());
    let extents: Vec<usize> =
        extents.collect::<std::result::Result<_, _>>().map_err(|_| format!("shape is ({list:.80})"))?;
    if extents.len() > MAX_DIMS {
        return Err(format!("shape has {} dimensions, expected up to {MAX_DIMS}", extents.len()));
    }
    Ok(extents)
}

/// Reads an array whose type is one of `types` (`FLOATS` or `WHOLE`) and whose number of dimensions one of `dims`. The file must
/// hold exactly what its header says, so no more is reserved than the file has.
pub(crate) fn read(path: &Path, types: &[&str], dims: &[usize]) -> Result<Array> {
    let (header, file, rest) = open(path)?;
    let bad = |field: &str, problem: String| Error::format(path, field, problem);
    if !types.contains(&header.descr.as_str()) {
        return Err(bad("dtype", format!("is {:.20?}, expected {}", header.descr, types.join(" or "))));
    }
    if header.fortran {
        return Err(bad("fortran_order", "is True, expected False (save numpy.ascontiguousarray)".into()));
    }
    if !dims.contains(&header.shape.len()) {
        let wanted: Vec<_> = dims.iter().map(usize::to_string).collect();
        return Err(bad("shape", format!("is {:?}, expected {} dimensions", header.shape, wanted.join(" or "))));
    }
    let width = header.descr.bytes().last().map_or(1, |digit| usize::from(digit - b'0'));
    let count = header.shape.iter().try_fold(1usize, |n, &extent| n.checked_mul(extent));
    let bytes = count.and_then(|n| n.checked_mul(width)).filter(|&n| n <= isize::MAX as usize);
    let count = match (count, bytes) {
        (Some(count), Some(bytes)) if bytes as u64 == rest => count,
        _ => return Err(bad("shape", format!("is {:?}, which does not fit the {rest} bytes of data", header.shape))),
    };
    let values = match header.descr.as_str() {
        "<f4" => Values::F32(numbers(file, count, path, f32::from_le_bytes)?),
        "<f8" => Values::F64(numbers(file, count, path, f64::from_le_bytes)?),
        "|i1" => Values::Whole(numbers(file, count, path, |b| i8::from_le_bytes(b).into())?),
        "|u1" => Values::Whole(numbers(file, count, path, |b| u8::from_le_bytes(b).into())?),
        "<i2" => Values::Whole(numbers(file, count, path, |b| i16::from_le_bytes(b).into())?),
        "<u2" => Values::Whole(numbers(file, count, path, |b| u16::from_le_bytes(b).into())?),
        "<i4" => Values::Whole(numbers(file, count, path, |b| i32::from_le_bytes(b).into())?),
        "<u4" => Values::Whole(numbers(file, count, path, |b| u32::from_le_bytes(b).into())?),
        "<i8" => Values::Whole(numbers(file, count, path, i64::from_le_bytes)?),
        // What is above 2^63 is too much for whoever asks for whole numbers.
        _ => Values::Whole(numbers(file, count, path, |b| u64::from_le_bytes(b).try_into().unwrap_or(i64::MAX))?),
    };
    Ok(Array { shape: header.shape, values })
}

fn numbers<const W: usize, T: Copy + Default>(
    mut file: File,
    count: usize,
    path: &Path,
    convert: fn([u8; W]) -> T,
) -> Result<Vec<T>> {
    let mut out = try_zeroed(count, "an array file")?;
    let mut buffer = vec![0; (1 << 13) * W];
    for part in out.chunks_mut(1 << 13) {
        let bytes = &mut buffer[..part.len() * W];
        file.read_exact(bytes).map_err(|e| Error::io(path, e))?;
        for (value, bytes) in part.iter_mut().zip(bytes.chunks_exact(W)) {
            let mut word = [0; W];
            word.copy_from_slice(bytes);
            *value = convert(word);
        }
    }
    Ok(out)
}

/// The header of a C-order array, padded as NumPy does.
pub(crate) fn header(descr: &str, shape: &[usize]) -> Vec<u8> {
    let extents: String = shape.iter().map(|n| format!("{n},")).collect();
    let mut text = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({extents}), }}");
    let end = (10 + text.len() + 1).next_multiple_of(64);
    text.extend(std::iter::repeat_n(' ', end - 11 - text.len()));
    text.push('\n');
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((text.len() as u16).to_le_bytes());
    bytes.extend(text.as_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_of_numpy_and_ours() {
        let (header, shape) = (header("<f4", &[3, 128, 8]), vec![3, 128, 8]);
        assert_eq!(header.len() % 64, 0);
        let expected = Header { descr: "<f4".into(), fortran: false, shape };
        assert_eq!(parse(std::str::from_utf8(&header[10..]).unwrap()).unwrap(), expected);
        let scalar = parse("{'descr': '|O', 'fortran_order': False, 'shape': (), }   \n").unwrap();
        assert_eq!(scalar.shape, Vec::<usize>::new());
        let python2 = parse("{'shape': (5L,), \"fortran_order\": True, 'descr': '<f8'}").unwrap();
        assert_eq!((python2.shape, python2.fortran), (vec![5], true));
    }

    #[test]
    fn whole_numbers_of_any_width() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("n.npy");
        let all_ones = [-1, 255, -1, 65535, -1, 4294967295, -1, i64::MAX];
        for (descr, ones) in WHOLE.into_iter().zip(all_ones) {
            let width = usize::from(descr.as_bytes()[2] - b'0');
            let mut bytes = header(descr, &[2]);
            bytes.extend(100u64.to_le_bytes().iter().take(width));
            bytes.extend(vec![255; width]);
            std::fs::write(&path, bytes).unwrap();
            assert_eq!(read(&path, &WHOLE, &[1]).unwrap().values, Values::Whole(vec![100, ones]), "{descr}");
        }
    }

    #[test]
    fn broken_headers_are_refused() {
        for text in [
            "",
            "{",
            "{'descr'}",
            "{'descr': '<f4'}",
            "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,)}",
            "{'descr': '<f4', 'fortran_order': Maybe, 'shape': (1,)}",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (-1,)}",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (1,,2)}",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (1,1,1,1,1,1,1,1,1)}",
            "{'descr': '<f4', 'fortran_order': False, 'shape': (1,), 'more': 1}",
            "{'descr': '<f4', 'fortran_order': False, 'shape': ((((((((1,)}",
            "{\u{fc}: 1}",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
