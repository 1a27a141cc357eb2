//! Files that are written whole or not at all, and a hardened safetensors container.
//!
//! Files are hostile: every size is checked before anything is allocated for it, the offsets must cover
//! the file exactly, and a file of ours carries a hash. The hash finds damage; it is no signature.

mod whole;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use half::{bf16, f16};
use safetensors::tensor::{Dtype, TensorInfo};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};
use crate::order;
pub use whole::{lock, write_whole};

/// Limits on what a file may ask for.
pub const MAX_HEADER_BYTES: usize = 1 << 20;
pub const MAX_TENSORS: usize = 4096;
pub const MAX_NDIM: usize = 8;
pub const MAX_FILE_BYTES: u64 = 2 << 30;

/// Metadata key of a hash, in hex, over the rest of the metadata and the name, type, shape and bytes of every tensor.
pub const HASH_KEY: &str = "sha256";
/// Metadata key that says that trajgan wrote the file. With it the hash must be there, without it may be.
pub const FORMAT_KEY: &str = "trajgan";

/// Numbers of a tensor, row-major. F16 and BF16 are read as F32.
#[derive(Clone, Debug, PartialEq)]
pub enum Values {
    F32(Vec<f32>),
    F64(Vec<f64>),
    I64(Vec<i64>),
    U64(Vec<u64>),
}

impl Values {
    pub fn len(&self) -> usize {
        match self {
            Values::F32(v) => v.len(),
            Values::F64(v) => v.len(),
            Values::I64(v) => v.len(),
            Values::U64(v) => v.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn dtype(&self, half: bool) -> Dtype {
        match self {
            Values::F32(_) if half => Dtype::F16,
            Values::F32(_) => Dtype::F32,
            Values::F64(_) => Dtype::F64,
            Values::I64(_) => Dtype::I64,
            Values::U64(_) => Dtype::U64,
        }
    }

    /// Little-endian bytes, handed over in small pieces. A value that f16 cannot hold is an error.
    fn bytes(&self, half: bool, put: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        fn pieces<T: Copy, const N: usize>(
            values: &[T],
            put: &mut dyn FnMut(&[u8]) -> io::Result<()>,
            bytes_of: impl Fn(T) -> io::Result<[u8; N]>,
        ) -> io::Result<()> {
            let mut buffer = Vec::with_capacity(8192);
            for piece in values.chunks(1024) {
                buffer.clear();
                for &value in piece {
                    buffer.extend_from_slice(&bytes_of(value)?);
                }
                put(&buffer)?;
            }
            Ok(())
        }
        match self {
            Values::F32(v) if half => pieces(v, put, |value| {
                let h = f16::from_f32(value);
                if value.is_finite() && !h.is_finite() {
                    return Err(io::Error::other(value.to_string()));
                }
                Ok(h.to_le_bytes())
            }),
            Values::F32(v) => pieces(v, put, |value| Ok(value.to_le_bytes())),
            Values::F64(v) => pieces(v, put, |value| Ok(value.to_le_bytes())),
            Values::I64(v) => pieces(v, put, |value| Ok(value.to_le_bytes())),
            Values::U64(v) => pieces(v, put, |value| Ok(value.to_le_bytes())),
        }
    }
}

fn is_halved(name: &str, half: bool) -> bool {
    half && !name.starts_with("data.")
}

/// Values with their extents; an empty shape is one number.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    pub shape: Vec<usize>,
    pub values: Values,
}

/// A safetensors file in memory.
/// Format: <https://github.com/huggingface/safetensors#format>
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TensorFile {
    /// Without [`HASH_KEY`], which is written and checked here.
    pub metadata: BTreeMap<String, String>,
    pub tensors: BTreeMap<String, Tensor>,
}

impl TensorFile {
    /// Reads and checks a whole file.
    ///
    /// # Errors
    /// `Io` if it cannot be read; `Format`, naming the tensor or the part of the header, if it is damaged, too large or
    /// holds a type other than F16, BF16, F32, F64, I64 and U64; `Memory`.
    pub fn read(path: &Path) -> Result<TensorFile> {
        Self::from_bytes(path, &read_capped(path)?)
    }

    /// The same for bytes that came from elsewhere. `origin` is what errors name.
    pub fn from_bytes(origin: &Path, bytes: &[u8]) -> Result<TensorFile> {
        let fail = |field: &str, problem: String| Error::format(origin, field, problem);
        let (header, data) = split(bytes).map_err(|problem| fail("header", problem))?;
        let header: Header = serde_json::from_slice(header).map_err(|e| fail("header", e.to_string()))?;
        let Header { mut metadata, tensors: infos } = header;
        check_layout(&infos, data.len()).map_err(|(name, problem)| fail(&name, problem))?;
        let stored_hash = metadata.remove(HASH_KEY);
        let mut tensors = BTreeMap::new();
        let mut hash = content_hash_start(&metadata);
        for i in order::indices(infos.len(), &|a, b| infos[a].0.cmp(&infos[b].0)) {
            let (name, info) = &infos[i];
            let bytes = &data[info.data_offsets.0..info.data_offsets.1];
            hash_tensor(&mut hash, name, info);
            hash.update(bytes);
            let values = decode(info.dtype, bytes).ok_or_else(|| {
                fail(name, format!("type {}, expected F16, BF16, F32, F64, I64 or U64", info.dtype))
            })??;
            tensors.insert(name.to_owned(), Tensor { shape: info.shape.clone(), values });
        }
        match stored_hash {
            Some(stored) if stored != hex(hash) => Err(fail(HASH_KEY, "the file is damaged: its hash differs".into())),
            None if metadata.contains_key(FORMAT_KEY) => Err(fail(HASH_KEY, "missing".into())),
            _ => Ok(TensorFile { metadata, tensors }),
        }
    }

    /// Writes the file whole or not at all, see [`write_whole`]. The same content gives the same bytes.
    /// `half`: F32 tensors are stored as F16, but for those named `data.`, which are no weights.
    ///
    /// # Errors
    /// `Argument` if a shape does not fit its values or a limit is passed; otherwise as `write_whole`.
    pub fn write(&self, path: &Path, half: bool) -> Result<()> {
        let infos = self.layout(half)?;
        let order = by_offset(&infos);
        let mut hash = content_hash_start(&self.metadata);
        for (name, tensor) in &self.tensors {
            hash_tensor(&mut hash, name, &infos[name.as_str()]);
            let mut put = |bytes: &[u8]| {
                hash.update(bytes);
                Ok(())
            };
            tensor
                .values
                .bytes(is_halved(name, half), &mut put)
                .map_err(|e| Error::argument(name, e, "a number that a 16-bit float holds"))?;
        }
        let header = self.header(&infos, hex(hash))?;
        write_whole(path, |out| {
            out.write_all(&(header.len() as u64).to_le_bytes())?;
            out.write_all(&header)?;
            for name in &order {
                self.tensors[*name].values.bytes(is_halved(name, half), &mut |bytes| out.write_all(bytes))?;
            }
            Ok(())
        })
    }

    /// Where each tensor goes: wide types first, so that everything is aligned, then by name.
    fn layout(&self, half: bool) -> Result<BTreeMap<&str, TensorInfo>> {
        if self.tensors.len() > MAX_TENSORS {
            return Err(Error::argument("number of tensors", self.tensors.len(), format!("up to {MAX_TENSORS}")));
        }
        let dtype = |name: &str, tensor: &Tensor| tensor.values.dtype(is_halved(name, half));
        let tensors: Vec<_> = self.tensors.iter().map(|(name, tensor)| (name, tensor, dtype(name, tensor))).collect();
        let mut infos = BTreeMap::new();
        let mut end = 0;
        for (name, tensor, dtype) in order::sorted(&tensors, |a, b| b.2.bitsize().cmp(&a.2.bitsize())) {
            let elements = tensor.shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
            if elements != Some(tensor.values.len()) || tensor.shape.len() > MAX_NDIM || name == METADATA {
                let expected = format!("{} values in up to {MAX_NDIM} dimensions", tensor.values.len());
                return Err(Error::argument(format!("shape of {name}"), format!("{:?}", tensor.shape), expected));
            }
            let start = end;
            end += tensor.values.len() * dtype.bitsize() / 8;
            infos.insert(name.as_str(), TensorInfo { dtype, shape: tensor.shape.clone(), data_offsets: (start, end) });
        }
        if end as u64 > MAX_FILE_BYTES - (MAX_HEADER_BYTES as u64 + 8) {
            return Err(Error::argument("size of the tensors", end, format!("less than {MAX_FILE_BYTES} bytes")));
        }
        Ok(infos)
    }

    /// The JSON header, padded with blanks to a multiple of 8 bytes. The crate's own writer keeps metadata in a
    /// randomly ordered map; ours is sorted, so that equal models are equal files.
    fn header(&self, infos: &BTreeMap<&str, TensorInfo>, hash: String) -> Result<Vec<u8>> {
        let mut metadata = self.metadata.clone();
        metadata.insert(HASH_KEY.into(), hash);
        let mut entries = serde_json::Map::new();
        entries.insert(METADATA.into(), serde_json::json!(metadata));
        for (name, info) in infos {
            let info = serde_json::json!({
                "dtype": info.dtype.to_string(),
                "shape": info.shape,
                "data_offsets": [info.data_offsets.0, info.data_offsets.1],
            });
            entries.insert((*name).into(), info);
        }
        let mut header = serde_json::Value::Object(entries).to_string().into_bytes();
        header.resize(header.len().next_multiple_of(8), b' ');
        if header.len() > MAX_HEADER_BYTES {
            let expected = format!("up to {MAX_HEADER_BYTES} bytes");
            return Err(Error::argument("names, shapes and metadata", header.len(), expected));
        }
        Ok(header)
    }
}

const METADATA: &str = "__metadata__";

/// The header as it stands in the file. A name that stands twice is an error, which serde's maps would not notice.
struct Header {
    metadata: BTreeMap<String, String>,
    tensors: Vec<(String, TensorInfo)>,
}

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Header, D::Error> {
        struct Entries;

        impl<'de> Visitor<'de> for Entries {
            type Value = Header;

            fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
                f.write_str("an object with one entry per tensor")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Header, A::Error> {
                use serde::de::Error;
                let mut metadata = None;
                let mut tensors = Vec::new();
                let mut names = std::collections::BTreeSet::new();
                while let Some(name) = map.next_key::<String>()? {
                    if !names.insert(name.clone()) {
                        return Err(A::Error::custom(format_args!("{name} stands twice")));
                    }
                    if name == METADATA {
                        metadata = Some(map.next_value()?);
                    } else if tensors.len() == MAX_TENSORS {
                        return Err(A::Error::custom(format_args!("more than {MAX_TENSORS} tensors")));
                    } else {
                        let info: TensorInfo =
                            map.next_value().map_err(|e| A::Error::custom(format_args!("{name}: {e}")))?;
                        tensors.push((name, info));
                    }
                }
                Ok(Header { metadata: metadata.unwrap_or_default(), tensors })
            }
        }

        deserializer.deserialize_map(Entries)
    }
}

/// Opens a file and tells its size. Anything but a regular file is refused before it is opened: a pipe would wait for its other
/// end.
pub(crate) fn open_regular(path: &Path) -> Result<(File, u64)> {
    let fail = |e| Error::io(path, e);
    let about = fs::metadata(path).map_err(fail)?;
    if !about.is_file() {
        let kind = if about.is_dir() { "a folder, expected a file in it" } else { "not a regular file" };
        return Err(Error::format(path, "file", kind));
    }
    let file = File::open(path).map_err(fail)?;
    // Of this file: by now a save may have put another in its place.
    let size = file.metadata().map_err(fail)?.len();
    Ok((file, size))
}

/// A regular file of at most [`MAX_FILE_BYTES`], whole.
fn read_capped(path: &Path) -> Result<Vec<u8>> {
    let (file, size) = open_regular(path)?;
    if size > MAX_FILE_BYTES {
        return Err(Error::format(path, "file", format!("{size} bytes, expected up to {MAX_FILE_BYTES}")));
    }
    let mut bytes = Vec::new();
    let length = size as usize;
    bytes.try_reserve_exact(length).map_err(|_| Error::Memory { bytes: length, purpose: "a file" })?;
    // No further than it was long a moment ago: it may be growing.
    file.take(size).read_to_end(&mut bytes).map_err(|e| Error::io(path, e))?;
    Ok(bytes)
}

/// Bytes of a file -> its JSON header and its data.
fn split(bytes: &[u8]) -> std::result::Result<(&[u8], &[u8]), String> {
    let Some((length, rest)) = bytes.split_first_chunk::<8>() else {
        return Err(format!("{} bytes, expected 8 or more", bytes.len()));
    };
    if bytes.starts_with(b"PK\x03\x04") {
        let expected = "safetensors (of PyTorch: safetensors.torch.save_file(model.state_dict(), ..))";
        return Err(format!("a zip archive, as torch.save writes them, expected {expected}"));
    }
    match u64::from_le_bytes(*length) {
        n if n > MAX_HEADER_BYTES as u64 => Err(format!("length {n}, expected up to {MAX_HEADER_BYTES}")),
        n if n > rest.len() as u64 => Err(format!("length {n}, but {} bytes follow", rest.len())),
        n => Ok(rest.split_at(n as usize)),
    }
}

/// Shapes, types and offsets agree, and the tensors cover the data: no overlap, no gap, nothing after the last.
fn check_layout(infos: &[(String, TensorInfo)], data_len: usize) -> std::result::Result<(), (String, String)> {
    let mut covered = 0;
    for i in order::indices(infos.len(), &|a, b| infos[a].1.data_offsets.cmp(&infos[b].1.data_offsets)) {
        let (name, info) = &infos[i];
        let fail = |problem: String| Err((name.clone(), problem));
        let TensorInfo { dtype, shape, data_offsets: (start, end) } = info;
        if shape.len() > MAX_NDIM {
            return fail(format!("{} dimensions, expected up to {MAX_NDIM}", shape.len()));
        }
        let bits = shape.iter().try_fold(dtype.bitsize(), |n, &d| n.checked_mul(d));
        if end.checked_sub(*start).and_then(|n| n.checked_mul(8)).is_none_or(|n| Some(n) != bits) {
            return fail(format!("bytes {start} to {end} do not hold {dtype} {shape:?}"));
        }
        if *start != covered {
            return fail(format!("begins at byte {start}, the tensor before it ends at {covered}"));
        }
        if *end > data_len {
            return fail(format!("ends at byte {end} of {data_len}"));
        }
        covered = *end;
    }
    if covered != data_len {
        return Err(("data".into(), format!("the tensors end at byte {covered} of {data_len}")));
    }
    Ok(())
}

/// None: not a type we read.
fn decode(dtype: Dtype, bytes: &[u8]) -> Option<Result<Values>> {
    fn all<T, const N: usize>(bytes: &[u8], from: impl Fn([u8; N]) -> T) -> Result<Vec<T>> {
        let (chunks, _) = bytes.as_chunks::<N>();
        let mut values = Vec::new();
        values.try_reserve_exact(chunks.len()).map_err(|_| Error::Memory {
            bytes: chunks.len().saturating_mul(size_of::<T>()),
            purpose: "a tensor of a file",
        })?;
        values.extend(chunks.iter().map(|&chunk| from(chunk)));
        Ok(values)
    }
    Some(match dtype {
        Dtype::F16 => all(bytes, |b| f16::from_le_bytes(b).to_f32()).map(Values::F32),
        Dtype::BF16 => all(bytes, |b| bf16::from_le_bytes(b).to_f32()).map(Values::F32),
        Dtype::F32 => all(bytes, f32::from_le_bytes).map(Values::F32),
        Dtype::F64 => all(bytes, f64::from_le_bytes).map(Values::F64),
        Dtype::I64 => all(bytes, i64::from_le_bytes).map(Values::I64),
        Dtype::U64 => all(bytes, u64::from_le_bytes).map(Values::U64),
        _ => return None,
    })
}

fn by_offset<'a>(infos: &BTreeMap<&'a str, TensorInfo>) -> Vec<&'a str> {
    let names: Vec<&str> = infos.keys().copied().collect();
    order::sorted(&names, |a, b| infos[a].data_offsets.cmp(&infos[b].data_offsets))
}

/// Every text goes in with its length, so that no two contents are the same stream.
fn content_hash_start(metadata: &BTreeMap<String, String>) -> Sha256 {
    let mut hash = Sha256::new();
    for text in metadata.iter().flat_map(|(key, value)| [key, value]) {
        hash.update((text.len() as u64).to_le_bytes());
        hash.update(text);
    }
    hash
}

fn hash_tensor(hash: &mut Sha256, name: &str, info: &TensorInfo) {
    let head = format!("{name} {} {:?}", info.dtype, info.shape);
    hash.update((head.len() as u64).to_le_bytes());
    hash.update(head);
}

fn hex(hash: Sha256) -> String {
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}
