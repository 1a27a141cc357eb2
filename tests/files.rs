//! The model-file container against damaged, hostile and foreign files, and saves that fail.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use safetensors::tensor::{Dtype, TensorView};
use trajgan::error::Error;
use trajgan::files::{MAX_HEADER_BYTES, MAX_NDIM, MAX_TENSORS, Tensor, TensorFile, Values, write_whole};

fn example() -> TensorFile {
    let tensor = |shape: &[usize], values| Tensor { shape: shape.to_vec(), values };
    TensorFile {
        metadata: BTreeMap::from([("trajgan".into(), "{\"format\":1}".into()), ("note".into(), "a \"b\" ü".into())]),
        tensors: BTreeMap::from([
            ("a.weight".into(), tensor(&[2, 3], Values::F32(vec![1.0, -2.5, 0.0, f32::MIN_POSITIVE, 3e4, -0.0]))),
            ("b".into(), tensor(&[], Values::F64(vec![0.1]))),
            ("count".into(), tensor(&[2], Values::U64(vec![u64::MAX, 7]))),
            ("empty".into(), tensor(&[0, 4], Values::F32(vec![]))),
            ("signed".into(), tensor(&[1], Values::I64(vec![-3]))),
        ]),
    }
}

fn bytes_of(file: &TensorFile) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.safetensors");
    file.write(&path, false).unwrap();
    fs::read(path).unwrap()
}

fn parse(bytes: &[u8]) -> Result<TensorFile, String> {
    TensorFile::from_bytes(Path::new("m"), bytes).map_err(|e| e.to_string())
}

/// A file with this header and so many bytes of zeros.
fn raw(header: &str, data: usize) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.resize(bytes.len() + data, 0);
    bytes
}

fn entries(folder: &Path) -> usize {
    fs::read_dir(folder).unwrap().count()
}

#[test]
fn what_was_written_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.safetensors");
    example().write(&path, false).unwrap();
    assert_eq!(TensorFile::read(&path).unwrap(), example());
    let first = fs::read(&path).unwrap();
    example().write(&path, false).unwrap();
    assert_eq!(fs::read(&path).unwrap(), first, "equal content, equal bytes");
    assert_eq!(entries(folder.path()), 1, "nothing is left beside the file");
}

#[test]
fn the_reference_reader_reads_ours() {
    let bytes = bytes_of(&example());
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    assert_eq!(file.len(), 5);
    let weight = file.tensor("a.weight").unwrap();
    assert_eq!((weight.dtype(), weight.shape()), (Dtype::F32, &[2, 3][..]));
    assert_eq!(&weight.data()[4..8], (-2.5f32).to_le_bytes());
    assert_eq!(file.tensor("count").unwrap().data()[..8], [0xff; 8]);
}

#[test]
fn a_file_of_the_reference_writer_is_read_without_a_hash() {
    let floats: Vec<u8> = [1.5f32, -2.0].iter().flat_map(|v| v.to_le_bytes()).collect();
    let halves: Vec<u8> = [0x3c00u16, 0xc100].iter().flat_map(|v| v.to_le_bytes()).collect();
    let brains: Vec<u8> = [0x3f80u16, 0xc040].iter().flat_map(|v| v.to_le_bytes()).collect();
    let view = |dtype, data| TensorView::new(dtype, vec![2], data).unwrap();
    let tensors =
        [("f", view(Dtype::F32, &floats)), ("h", view(Dtype::F16, &halves)), ("bf", view(Dtype::BF16, &brains))];
    let metadata = HashMap::from([("format".to_string(), "pt".to_string())]);
    let file = parse(&safetensors::serialize(tensors, Some(metadata)).unwrap()).unwrap();
    assert_eq!(file.metadata["format"], "pt");
    assert_eq!(file.tensors["f"].values, Values::F32(vec![1.5, -2.0]));
    assert_eq!(file.tensors["h"].values, Values::F32(vec![1.0, -2.5]));
    assert_eq!(file.tensors["bf"].values, Values::F32(vec![1.0, -3.0]));
}

#[test]
fn half_keeps_what_fits_and_refuses_what_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m");
    let mut file = example();
    file.write(&path, true).unwrap();
    let back = TensorFile::read(&path).unwrap();
    assert_eq!(back.tensors["a.weight"].values, Values::F32(vec![1.0, -2.5, 0.0, 0.0, 3e4, -0.0]));
    assert_eq!(back.tensors["b"], file.tensors["b"]);
    let before = fs::read(&path).unwrap();
    file.tensors.insert("big".into(), Tensor { shape: vec![1], values: Values::F32(vec![1e6]) });
    let message = file.write(&path, true).unwrap_err().to_string();
    assert_eq!(message, "big is 1000000, expected a number that a 16-bit float holds");
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[test]
fn every_truncation_is_refused() {
    let bytes = bytes_of(&example());
    for length in 0..bytes.len() {
        let message = parse(&bytes[..length]).unwrap_err();
        assert!(message.starts_with("m: "), "{length}: {message}");
    }
    let longer: Vec<u8> = bytes.iter().copied().chain([0]).collect();
    assert!(parse(&longer).unwrap_err().contains("data: the tensors end at byte"));
}

#[test]
fn every_flipped_bit_is_refused() {
    let mut bytes = bytes_of(&example());
    for at in 0..bytes.len() {
        for bit in 0..8 {
            bytes[at] ^= 1 << bit;
            assert!(parse(&bytes).is_err(), "byte {at}, bit {bit}");
            bytes[at] ^= 1 << bit;
        }
    }
    assert!(parse(&bytes).is_ok());
}

#[test]
fn a_header_that_asks_for_too_much_is_refused() {
    for length in [MAX_HEADER_BYTES as u64 + 1, u64::MAX, u64::MAX - 7, 1 << 62] {
        let mut bytes = length.to_le_bytes().to_vec();
        bytes.extend([b' '; 64]);
        assert!(parse(&bytes).unwrap_err().starts_with("m: header: length"), "{length}");
    }
    let tensors = |count: usize| {
        let one = |i| format!(r#""t{i}":{{"dtype":"F32","shape":[1],"data_offsets":[{},{}]}}"#, 4 * i, 4 * i + 4);
        format!("{{{}}}", (0..count).map(one).collect::<Vec<_>>().join(","))
    };
    assert_eq!(parse(&raw(&tensors(MAX_TENSORS), 4 * MAX_TENSORS)).unwrap().tensors.len(), MAX_TENSORS);
    let message = parse(&raw(&tensors(MAX_TENSORS + 1), 4 * MAX_TENSORS + 4)).unwrap_err();
    assert!(message.contains("more than 4096 tensors"), "{message}");
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    for header in [format!(r#"{{"__metadata__":{deep}}}"#), format!(r#"{{"a":{{"x":{deep}}}}}"#)] {
        assert!(parse(&raw(&header, 0)).unwrap_err().starts_with("m: header: "));
    }
    // A header as long as it may be, nearly all of it blank.
    let blank = format!("{{}}{}", " ".repeat(MAX_HEADER_BYTES - 2));
    assert!(parse(&raw(&blank, 0)).unwrap().tensors.is_empty());
}

/// Tensors (name, dtype, shape, offsets), bytes of data, what the message must say.
type Case = (&'static [(&'static str, &'static str, &'static str, &'static str)], usize, &'static str);

const BROKEN: &[Case] = &[
    (&[], 4, "m: data: the tensors end at byte 0 of 4"),
    (&[("a", "F32", "2", "0,8")], 4, "m: a: ends at byte 8 of 4"),
    (&[("a", "F32", "1", "0,4")], 8, "m: data: the tensors end at byte 4 of 8"),
    (&[("a", "F32", "1", "4,8")], 8, "m: a: begins at byte 4"),
    (&[("a", "F32", "1", "4,0")], 4, "m: a: bytes 4 to 0 do not hold F32 [1]"),
    (&[("a", "F32", "2", "0,4")], 4, "m: a: bytes 0 to 4 do not hold F32 [2]"),
    (
        &[("a", "F32", "2", "0,8"), ("b", "F32", "2", "4,12")],
        12,
        "m: b: begins at byte 4, the tensor before it ends at 8",
    ),
    (&[("a", "F32", "1", "0,4"), ("b", "F32", "1", "0,4")], 4, "begins at byte 0, the tensor before it ends at 4"),
    (
        &[("a", "F32", "1", "0,4"), ("b", "F32", "1", "8,12")],
        12,
        "m: b: begins at byte 8, the tensor before it ends at 4",
    ),
    (&[("a", "F32", "1", "0,4"), ("a", "F32", "1", "4,8")], 8, "a stands twice"),
    (&[("a", "F32", "18446744073709551615,2", "0,8")], 8, "m: a: bytes 0 to 8"),
    (&[("a", "F32", "4611686018427387905", "0,4")], 4, "m: a: bytes 0 to 4"),
    (&[("a", "F32", "1", "0,18446744073709551615")], 4, "m: a: bytes 0 to"),
    (&[("a", "F32", "99999999999999999999", "0,4")], 4, "m: header: a: "),
    (&[("a", "F32", "-1", "0,4")], 4, "m: header: a: "),
    (&[("a", "F32", "1.0", "0,4")], 4, "m: header: a: "),
    (&[("a", "F32", "1", "0")], 4, "m: header: a: "),
    (&[("a", "X32", "1", "0,4")], 4, "X32"),
    (&[("a", "I32", "1", "0,4")], 4, "m: a: type I32, expected F16"),
    (&[("a", "F4", "1", "0,1")], 1, "m: a: bytes 0 to 1"),
];

const BROKEN_HEADERS: &[(&str, &str)] = &[
    ("", "m: header: "),
    ("[]", "m: header: "),
    ("{", "m: header: "),
    ("{}x", "m: header: "),
    ("\u{0}\u{1}", "m: header: "),
    (r#"{"a":{"dtype":"F32","shape":[]}}"#, "data_offsets"),
    (r#"{"__metadata__":{"k":1}}"#, "m: header: "),
    (r#"{"__metadata__":{"trajgan":"{}"}}"#, "m: sha256: missing"),
    (r#"{"__metadata__":{"sha256":"00"}}"#, "m: sha256: the file is damaged"),
];

#[test]
fn broken_headers_are_refused_by_name() {
    let check = |header: &str, data, expected: &str| {
        let message = parse(&raw(header, data)).expect_err(header);
        assert!(message.contains(expected), "{header}\n  says {message}\n  not  {expected}");
    };
    for (tensors, data, expected) in BROKEN {
        let tensor = |(name, dtype, shape, offsets): &(&str, &str, &str, &str)| {
            format!(r#""{name}":{{"dtype":"{dtype}","shape":[{shape}],"data_offsets":[{offsets}]}}"#)
        };
        check(&format!("{{{}}}", tensors.iter().map(tensor).collect::<Vec<_>>().join(",")), *data, expected);
    }
    for (header, expected) in BROKEN_HEADERS {
        check(header, 0, expected);
    }
    let mut not_text = raw("{\"x\"}", 0);
    not_text[10] = 0xff;
    assert!(parse(&not_text).unwrap_err().starts_with("m: header: "));
    let dims =
        |n: usize| format!(r#"{{"a":{{"dtype":"F32","shape":[{}],"data_offsets":[0,4]}}}}"#, vec!["1"; n].join(","));
    assert!(parse(&raw(&dims(MAX_NDIM), 4)).is_ok());
    check(&dims(MAX_NDIM + 1), 4, "m: a: 9 dimensions, expected up to 8");
}

#[test]
fn a_shape_that_does_not_fit_is_not_written() {
    let folder = tempfile::tempdir().unwrap();
    let mut file = example();
    file.tensors.insert("bad".into(), Tensor { shape: vec![3, 2], values: Values::F32(vec![0.0; 5]) });
    let message = file.write(&folder.path().join("m"), false).unwrap_err().to_string();
    assert_eq!(message, "shape of bad is [3, 2], expected 5 values in up to 8 dimensions");
    assert_eq!(entries(folder.path()), 0);
}

#[test]
fn what_is_not_a_file_is_not_read() {
    let folder = tempfile::tempdir().unwrap();
    let message = TensorFile::read(folder.path()).unwrap_err().to_string();
    assert!(message.ends_with("file: a folder, expected a file in it"), "{message}");
    let missing = TensorFile::read(&folder.path().join("none")).unwrap_err();
    assert!(matches!(missing, Error::Io { .. }) && missing.to_string().contains("none"));
    let huge = folder.path().join("huge");
    fs::File::create(&huge).unwrap().set_len(3 << 30).unwrap(); // sparse
    let message = TensorFile::read(&huge).unwrap_err().to_string();
    assert!(message.contains("3221225472 bytes"), "{message}");
}

#[test]
fn a_failed_save_leaves_the_old_file_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m");
    fs::write(&path, "old").unwrap();
    let failed = write_whole(&path, |out| {
        out.write_all(&[0; 100_000])?;
        Err(std::io::Error::other("half way"))
    });
    assert!(failed.unwrap_err().to_string().ends_with("m: half way"));
    assert_eq!(fs::read(&path).unwrap(), b"old");
    assert_eq!(entries(folder.path()), 1);

    let sub = folder.path().join("sub");
    fs::create_dir(&sub).unwrap();
    assert!(matches!(write_whole(&sub, |out| out.write_all(b"new")), Err(Error::Io { .. })));
    assert!(write_whole(&folder.path().join("none/m"), |out| out.write_all(b"new")).is_err());
    assert!(write_whole(Path::new("/"), |out| out.write_all(b"new")).is_err());
    assert!(sub.is_dir());
    assert_eq!(entries(folder.path()), 2);
}

#[test]
fn a_sibling_that_cannot_be_made_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m");
    fs::write(&path, "old").unwrap();
    // Root may write into read-only folders, but not to a folder in place of the sibling.
    fs::create_dir(folder.path().join(".m.saving")).unwrap();
    assert!(matches!(write_whole(&path, |out| out.write_all(b"new")), Err(Error::Io { .. })));
    assert_eq!(fs::read(&path).unwrap(), b"old");
}

/// A sibling's name is longer than the file's, and no file's may have more than 255 bytes.
#[test]
fn a_file_may_have_the_longest_name() {
    let folder = tempfile::tempdir().unwrap();
    for length in [247, 248, 255] {
        let path = folder.path().join("n".repeat(length));
        write_whole(&path, |out| out.write_all(b"new")).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
    }
    assert_eq!(entries(folder.path()), 3);
}

#[cfg(unix)]
#[test]
fn a_link_in_place_of_the_sibling_is_not_followed() {
    let folder = tempfile::tempdir().unwrap();
    let (path, other) = (folder.path().join("m"), folder.path().join("other"));
    fs::write(&other, "untouched").unwrap();
    std::os::unix::fs::symlink(&other, folder.path().join(".m.saving")).unwrap();
    assert!(write_whole(&path, |out| out.write_all(b"new")).is_err());
    assert_eq!(fs::read(&other).unwrap(), b"untouched");
}

/// Models hold statistics of people. And what others know by a link stays what the link leads to.
#[cfg(unix)]
#[test]
fn modes_and_links_stay() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let folder = tempfile::tempdir().unwrap();
    let (file, link) = (folder.path().join("run7"), folder.path().join("latest"));
    write_whole(&file, |out| out.write_all(b"old")).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    symlink("run7", &link).unwrap();
    write_whole(&link, |out| out.write_all(b"new")).unwrap();
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(fs::read(&file).unwrap(), b"new");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(entries(folder.path()), 2);
    // While it is written, too; and a link may lead to what is not there yet.
    fs::set_permissions(&file, fs::Permissions::from_mode(0o400)).unwrap();
    let during = folder.path().join(".run7.saving");
    let mut seen = 0;
    write_whole(&file, |out| {
        seen = fs::metadata(&during)?.permissions().mode() & 0o777;
        out.write_all(b"newer")
    })
    .unwrap();
    assert_eq!((seen, fs::metadata(&file).unwrap().permissions().mode() & 0o777), (0o600, 0o400));
    fs::remove_file(&file).unwrap();
    write_whole(&link, |out| out.write_all(b"new")).unwrap();
    assert!(fs::symlink_metadata(&link).unwrap().is_symlink() && fs::symlink_metadata(&file).unwrap().is_file());
    symlink("ring", folder.path().join("ring")).unwrap();
    assert!(write_whole(&folder.path().join("ring"), |out| out.write_all(b"new")).is_err());
}

/// Whoever reads while others save gets the old file or the new one, though they are not equally long.
#[cfg(unix)]
#[test]
fn a_file_is_read_whole_while_it_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m");
    let file = |n: usize| {
        let mut file = TensorFile::default();
        file.tensors.insert("w".into(), Tensor { shape: vec![n], values: Values::F32(vec![1.0; n]) });
        file
    };
    file(10).write(&path, false).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for i in 0..400 {
                file([10, 10_000][i % 2]).write(&path, false).unwrap();
            }
            done.store(true, Ordering::Relaxed);
        });
        while !done.load(Ordering::Relaxed) {
            TensorFile::read(&path).unwrap();
        }
    });
}

/// A rename would put a file in the place of the device.
#[cfg(unix)]
#[test]
fn what_is_no_file_is_not_replaced() {
    use std::os::unix::net::UnixListener;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m");
    let _socket = UnixListener::bind(&path).unwrap();
    let error = write_whole(&path, |out| out.write_all(b"new")).unwrap_err().to_string();
    assert!(error.ends_with("m: not a regular file"), "{error}");
    assert!(!fs::symlink_metadata(&path).unwrap().is_file() && entries(folder.path()) == 1);
}

#[test]
fn a_killed_save_is_swept_by_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m");
    fs::write(folder.path().join(".m.saving"), vec![1; 1000]).unwrap();
    write_whole(&path, |out| out.write_all(b"new")).unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"new");
    assert_eq!(entries(folder.path()), 1);
}

#[test]
fn saves_to_one_path_do_not_mix() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m");
    let during = write_whole(&path, |out| {
        let second = write_whole(&path, |out| out.write_all(b"second"));
        assert!(second.unwrap_err().to_string().contains("another save"));
        out.write_all(b"first")
    });
    during.unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"first");
    let saves = |byte: u8| {
        let path = &path;
        move || (0..50).filter(|_| write_whole(path, |out| out.write_all(&[byte; 5000])).is_ok()).count()
    };
    let done: usize = std::thread::scope(|scope| {
        let all: Vec<_> = (0..3).map(|i| scope.spawn(saves(i))).collect();
        all.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    let bytes = fs::read(&path).unwrap();
    assert!(done > 0 && bytes.len() == 5000 && bytes.iter().all(|b| *b == bytes[0]));
    assert_eq!(entries(folder.path()), 1);
}
