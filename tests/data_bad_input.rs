//! Broken files: each gives an error that names the file and what is wrong with it.

mod skip;

use std::fs;
use std::io::Write;
use std::path::Path;

use trajgan::data::{Dataset, ReadOptions};

fn npy_version(version: u8, header: &str, data: &[u8]) -> Vec<u8> {
    let mut bytes = b"\x93NUMPY".to_vec();
    bytes.extend([version, 0]);
    match version {
        1 => bytes.extend((header.len() as u16).to_le_bytes()),
        _ => bytes.extend((header.len() as u32).to_le_bytes()),
    }
    bytes.extend(header.as_bytes());
    bytes.extend(data);
    bytes
}

fn npy(descr: &str, fortran: &str, shape: &str, data: &[u8]) -> Vec<u8> {
    npy_version(1, &format!("{{'descr': '{descr}', 'fortran_order': {fortran}, 'shape': {shape}, }}\n"), data)
}

fn f32s(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

fn i32s(values: &[i32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}

/// N = 4 movements, T = 5, F = 8.
const N: usize = 4;
const X: usize = N * 5 * 8;

fn x(values: &[f32]) -> Vec<u8> {
    npy("<f4", "False", "(4, 5, 8)", &f32s(values))
}

/// A V4 folder that reads well.
fn v4(folder: &Path) {
    for split in ["train", "val", "test"] {
        put(folder, &format!("X_{split}.npy"), &x(&[0.25; X]));
        put(folder, &format!("C_{split}.npy"), &npy("<f4", "False", "(4,)", &f32s(&[-1.0, -0.5, 0.5, 1.0])));
        put(folder, &format!("L_{split}.npy"), &npy("<i4", "False", "(4,)", &i32s(&[3, 4, 5, 5])));
    }
}

fn put(folder: &Path, name: &str, bytes: &[u8]) {
    fs::write(folder.join(name), bytes).unwrap();
}

fn gz(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// An object array's header before a pickle.
fn pickled(pickle: &[u8]) -> Vec<u8> {
    npy("|O", "False", "()", pickle)
}

/// NumPy's pickle of an array that holds a dict with these instructions as its items.
fn pickled_dict(items: &[u8]) -> Vec<u8> {
    let mut pickle = b"\x80\x04cnumpy._core.multiarray\n_reconstruct\n)R(K\x01)N\x89]}(".to_vec();
    pickle.extend(items);
    pickle.extend(b"uatb.");
    pickled(&pickle)
}

/// One item of such a dict.
fn item(name: &str, value: f64) -> Vec<u8> {
    let mut bytes = vec![0x8c, name.len() as u8];
    bytes.extend(name.as_bytes());
    bytes.push(b'G');
    bytes.extend(value.to_be_bytes());
    bytes
}

/// The items of a whole normalization_params.npy, without its clip_params.
fn limits() -> Vec<u8> {
    let names = ["dx", "dy", "speed", "accel", "sin_h", "cos_h", "ang_vel", "dt", "actual_dist", "ideal_dist"];
    names.iter().flat_map(|n| [item(&format!("{n}_min"), 0.0), item(&format!("{n}_max"), 1.0)].concat()).collect()
}

/// What to open: the folder, or the file in it.
fn message(folder: &Path, open: &str) -> String {
    let options = ReadOptions { max_bytes: 64 << 20, ..ReadOptions::default() };
    match Dataset::open(&if open.is_empty() { folder.to_owned() } else { folder.join(open) }, &options) {
        Ok((data, report)) => format!("read {} movements, {report:?}", data.len()),
        Err(error) => error.to_string(),
    }
}

/// A name, the file that is broken, its bytes, and what the message must hold besides the file's name.
type Case = (&'static str, &'static str, Vec<u8>, &'static [&'static str]);

#[test]
fn broken_arrays() {
    let good = x(&[0.25; X]);
    let with = |at: usize, value: f32| {
        let mut values = [0.25; X];
        values[at] = value;
        x(&values)
    };
    let c = |descr: &str, shape: &str, data: &[u8]| npy(descr, "False", shape, data);
    let bomb = |shape: &str| npy("<f4", "False", shape, &f32s(&[0.25; X]));
    let mut long = good.clone();
    long.push(0);
    let mut magic = good.clone();
    magic[0] = 0;
    let mut version = good.clone();
    version[6] = 9;
    let header_bomb = [b"\x93NUMPY\x02\x00".as_slice(), &u32::MAX.to_le_bytes(), b"{}"].concat();
    let nested = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {}", "(".repeat(60_000));
    let cases: Vec<Case> = vec![
        ("cut in its data", "X_train.npy", good[..good.len() - 7].to_vec(), &["shape", "[4, 5, 8]", "633 bytes"]),
        ("cut in its header", "X_val.npy", good[..30].to_vec(), &["header", "ends"]),
        ("empty", "C_train.npy", vec![], &["header", "ends"]),
        ("one byte too many", "X_train.npy", long, &["shape", "641 bytes"]),
        ("bad magic", "X_train.npy", magic, &["header", "not that of an .npy file"]),
        ("bad version", "X_train.npy", version, &["version is 9"]),
        ("header length bomb", "X_train.npy", header_bomb, &["header", "4294967295"]),
        ("nested header", "X_train.npy", npy_version(2, &nested, b""), &["header"]),
        ("header not a dict", "L_val.npy", npy_version(1, "[1, 2]\n", b""), &["header", "not a description"]),
        ("header not UTF-8", "L_val.npy", b"\x93NUMPY\x01\x00\x02\x00\xff\xfe".to_vec(), &["header", "utf-8"]),
        ("shape bomb", "X_train.npy", bomb("(1000000000000000000, 5, 8)"), &["shape", "does not fit"]),
        ("shape overflow", "X_train.npy", bomb("(4294967296, 4294967296, 16)"), &["shape", "does not fit"]),
        ("extent overflow", "X_train.npy", bomb("(99999999999999999999999, 5, 8)"), &["header", "shape"]),
        ("negative extent", "X_train.npy", bomb("(-4, 5, 8)"), &["header", "shape"]),
        ("X flat", "X_train.npy", bomb("(20, 8)"), &["shape", "expected 3 dimensions"]),
        ("no steps", "X_train.npy", npy("<f4", "False", "(4, 0, 8)", b""), &["shape", "T 1 to 4096"]),
        ("too many steps", "X_train.npy", npy("<f4", "False", "(0, 5000, 8)", b""), &["shape", "T 1 to 4096"]),
        (
            "whole numbers",
            "X_train.npy",
            npy("<i4", "False", "(4, 5, 8)", &[0; X * 4]),
            &["dtype", "<i4", "<f4 or <f8"],
        ),
        ("big endian", "X_train.npy", npy(">f4", "False", "(4, 5, 8)", &[0; X * 4]), &["dtype", ">f4"]),
        ("objects", "X_train.npy", npy("|O", "False", "(4, 5, 8)", b"cos\nsystem\n"), &["dtype", "|O"]),
        ("Fortran order", "X_train.npy", npy("<f4", "True", "(4, 5, 8)", &[0; X * 4]), &["fortran_order", "True"]),
        ("NaN", "X_train.npy", with(40 + 9, f32::NAN), &["[1,1,1]", "NaN"]),
        ("infinity", "X_test.npy", with(80, f32::INFINITY), &["[2,0,0]", "inf"]),
        ("another T", "X_val.npy", npy("<f4", "False", "(4, 6, 8)", &[0; 192 * 4]), &["T is 6, expected 5"]),
        ("another F", "X_val.npy", npy("<f4", "False", "(4, 5, 7)", &[0; 140 * 4]), &["F is 7, expected 8"]),
        ("another N in C", "C_train.npy", c("<f4", "(3,)", &[0; 12]), &["N is 3, expected 4 as in X_train.npy"]),
        ("another N in L", "L_test.npy", c("<i4", "(5,)", &[1; 20]), &["N is 5, expected 4"]),
        ("another C", "C_val.npy", c("<f4", "(4, 2)", &[0; 32]), &["C is 2, expected 1"]),
        ("no C", "C_val.npy", c("<f4", "(4, 0)", &[]), &["C is 0"]),
        ("NaN condition", "C_val.npy", c("<f4", "(4,)", &f32s(&[0.0, 0.0, f32::NAN, 0.0])), &["[2]", "NaN"]),
        ("length 0", "L_train.npy", c("<i4", "(4,)", &i32s(&[3, 0, 3, 3])), &["[1]", "is 0, expected 1 to 5"]),
        ("length above T", "L_train.npy", c("<i4", "(4,)", &i32s(&[3, 3, 3, 6])), &["[3]", "is 6, expected 1 to 5"]),
        ("negative length", "L_train.npy", c("<i8", "(4,)", &(-1i64).to_le_bytes().repeat(4)), &["[0]", "is -1"]),
        (
            "lengths not whole",
            "L_train.npy",
            c("<f4", "(4,)", &[0; 16]),
            &["dtype", "is \"<f4\", expected |i1 or |u1 or <i2"],
        ),
    ];
    run(cases);
}

#[test]
fn broken_limits() {
    let call = b"\x80\x04cos\nsystem\n\x8c\x1ftouch trajgan_test_was_executed\x85R.";
    let billion: Vec<u8> = {
        // Each list holds the one before twice: 2^200 items, if anybody counted.
        let mut bytes = b"\x80\x04]\x94".to_vec();
        for i in 0..200u8 {
            bytes.extend([b']', 0x94, b'(', b'h', i, b'h', i, b'e']);
        }
        bytes.push(b'.');
        bytes
    };
    let deep = [vec![b')'], vec![0x85; 500_000], vec![b'.']].concat();
    let whole = pickled_dict(&limits());
    let scaler = |min: &str| {
        format!(
            "{{\"min\":{min},\"max\":[1,1,1,1,1,1,1,1],\"clip_low\":[0,0,0],\"clip_high\":[1,1,1],\
             \"condition_min\":[0],\"condition_max\":[1]}}"
        )
    };
    let params = "normalization_params.npy";
    let cases: Vec<Case> = vec![
        ("a call of os.system", params, pickled(call), &["pickle", "calls os.system"]),
        ("a call within the dict", params, pickled_dict(b"\x8c\x01acos\nsystem\n)R"), &["pickle", "calls os.system"]),
        ("cut", params, whole[..whole.len() - 9].to_vec(), &["pickle", "ends in the middle"]),
        ("lists that double", params, pickled(&billion), &["pickle", "no array"]),
        ("nested", params, pickled(&deep), &["pickle", "no array"]),
        ("unknown instruction", params, pickled(b"\x80\x04\x8f."), &["pickle", "0x8f"]),
        ("too large", params, pickled(&vec![b'N'; 2 << 20]), &["pickle", "2097152 bytes"]),
        ("not an object", params, npy("<f4", "False", "(2,)", &[0; 8]), &["dtype", "<f4"]),
        ("a limit missing", params, pickled_dict(&limits()[17..]), &["dx_min", "missing"]),
        ("clip_params missing", params, whole, &["clip_params.speed_low", "missing"]),
        ("a limit that is no number", params, pickled_dict(b"\x8c\x06dx_minN"), &["dx_min", "not a finite number"]),
        ("not json", "scaler.json", b"{".to_vec(), &["json"]),
        ("limits missing", "scaler.json", b"{\"min\":[0,0,0,0,0,0,0,0]}".to_vec(), &["json", "missing field"]),
        ("seven limits", "scaler.json", scaler("[0,0,0,0,0,0,0]").into(), &["json", "length 7"]),
        ("limits reversed", "scaler.json", scaler("[2,0,0,0,0,0,0,0]").into(), &["scaler dx", "2 to 1"]),
        ("notes not json", "normalization.json", b"\xff".to_vec(), &["json"]),
    ];
    run(cases);
    assert!(!Path::new("trajgan_test_was_executed").exists());
}

#[test]
fn broken_recordings() {
    let good = r#"{"x":[0,5,9],"y":[0,1,1],"t":[0,8,16]}"#;
    let json = |x: &str, y: &str, t: &str| format!("{{\"x\":{x},\"y\":{y},\"t\":{t}}}").into_bytes();
    let (ys, ts) = ("[0,1,1]", "[0,8,16]");
    let packed = gz(&format!("{good}\n").repeat(5000).into_bytes());
    let bomb = gz(&vec![b' '; 80 << 20]);
    let lines = gz(&[&[b' '; 1023][..], b"\n"].concat().repeat(80 << 10));
    let astronomic = "t,x,y\n0,0,0\n8,-1e300,1\n16,-1e300,2\n";
    let cases: Vec<Case> = vec![
        ("not an object", "a.json", b"[1,2]".to_vec(), &["json", "is a list, expected an object"]),
        ("cut", "a.json", good.as_bytes()[..20].to_vec(), &["json", "EOF"]),
        ("empty", "a.json", vec![], &["json", "EOF"]),
        ("nested", "a.json", [b"{\"x\":".to_vec(), b"[".repeat(100_000)].concat(), &["json", "recursion"]),
        ("not UTF-8", "a.json", b"{\"x\":\"\xff\"}".to_vec(), &["json", "unicode"]),
        ("y missing", "a.json", br#"{"x":[0,1,2],"t":[0,1,2]}"#.to_vec(), &["y: is missing"]),
        ("x a number", "a.json", json("1", ys, ts), &["x: is a number, expected a list"]),
        ("text in x", "a.json", json(r#"[0,"5",9]"#, ys, ts), &["x[1]: is text, expected a number"]),
        ("null in y", "a.json", json("[0,5,9]", "[0,null,1]", ts), &["y[1]: is null"]),
        ("NaN", "a.json", json("[0,NaN,9]", ys, ts), &["json", "line 1"]),
        ("out of range", "a.json", json("[0,1e999,9]", ys, ts), &["json", "out of range"]),
        ("astronomic", "a.json", json("[0,1e300,-1e300]", ys, ts), &["points[0] speed"]),
        ("lengths differ", "a.json", json("[0,5,9]", "[0,1]", ts), &["y: has 2 numbers, expected 3 as x"]),
        ("time stands", "a.json", json("[0,5,9]", ys, "[0,8,8]"), &["points[2].t_ms", "is 8, expected more"]),
        ("time runs back", "a.json", json("[0,5,9]", ys, "[9,8,10]"), &["points[1].t_ms", "is 8"]),
        ("two points", "a.json", json("[0,5]", "[0,1]", "[0,8]"), &["points", "is 2, expected 3 or more"]),
        ("user a list", "a.json", good.replace('}', ",\"user\":[]}").into(), &["user: is a list"]),
        ("no condition", "a.json", good.replace('}', ",\"condition\":[]}").into(), &["condition: is empty"]),
        (
            "astronomic condition",
            "a.jsonl",
            good.replace('}', ",\"condition\":[1,-1e31]}").into(),
            &["line 1: condition[1]", "1e30"],
        ),
        ("only a broken line", "a.jsonl", b"\n\n{\n".to_vec(), &["line 3: json: EOF", " at column "]),
        ("no lines", "a.jsonl", b"\n\n".to_vec(), &["movements", "empty"]),
        ("gz cut", "a.jsonl.gz", packed[..packed.len() / 2].to_vec(), &["gzip: incomplete"]),
        ("gz damaged", "a.jsonl.gz", [&packed[..packed.len() - 6], &[0; 6]].concat(), &["gzip: corrupt"]),
        ("not gz", "a.jsonl.gz", good.into(), &["gzip: invalid"]),
        ("gz bomb of one line", "a.jsonl.gz", bomb.clone(), &["line 1: is longer than any recording"]),
        ("gz bomb of lines", "a.jsonl.gz", lines, &["size: is above 67108864 bytes"]),
        ("gz bomb of json", "a.json.gz", bomb, &["size: is above 8388608 bytes"]),
        ("no column t", "a.csv", b"x,y\n1,2\n".to_vec(), &["line 1", "no column t"]),
        ("no column y", "a.csv", b"t,x\n1,2\n".to_vec(), &["line 1", "no column y"]),
        ("no header", "a.csv", b"1,2,3\n".to_vec(), &["line 1", "no column t"]),
        ("no rows", "a.csv", b"t,x,y\n".to_vec(), &["rows"]),
        ("text in a row", "a.csv", b"t,x,y\n0,a,1\n".to_vec(), &["line 2: x", "\"a\", expected a number"]),
        ("short row", "a.csv", b"t,x,y\n0,1\n".to_vec(), &["line 2: y", "missing"]),
        ("NaN in a row", "a.csv", b"t,x,y\nNaN,1,1\n".to_vec(), &["line 2: t", "NaN"]),
        (
            "time runs back in rows",
            "a.csv",
            b"t,x,y\n5,1,1\n4,1,1\n".to_vec(),
            &["2 too few points", "; 1 of 2 rows are earlier than the one before, expected in order of time"],
        ),
        ("seconds", "a.csv", straight(0.016, 9.0), &["; rows are 0.016 ms apart at the median", "csv_seconds"]),
        ("microseconds", "a.csv", straight(16_000.0, 9.0), &["; rows are 16000 ms apart", "expected times in ms"]),
        ("shares of a screen", "a.csv", straight(16.0, 0.01), &["; all coordinates are from -1 to 1, expected pixels"]),
        ("header not UTF-8", "a.csv", b"t,x,y,\xff\n".to_vec(), &["line 1", "utf-8"]),
        ("row not UTF-8", "a.csv", b"t,x,y\n\xff,1,1\n".to_vec(), &["line 2: text", "utf-8"]),
        (
            "out of range in rows",
            "session_1",
            b"client timestamp,x,y\n1e308,1,1\n".to_vec(),
            &["line 2: t", "out of range"],
        ),
        ("astronomic rows", "a.csv", astronomic.into(), &["line 2: points[0] speed"]),
        ("too still", "session_2", b"client timestamp,x,y\n1,1,1\n2,1,1\n".to_vec(), &["movements", "too few points"]),
        ("no recording", "a.txt", b"hello".to_vec(), &["name: is .txt"]),
        ("binary without extension", "core", vec![0xff; 100], &["line 1"]),
    ];
    for (name, file, bytes, fragments) in cases {
        let folder = tempfile::tempdir().unwrap();
        put(folder.path(), file, &bytes);
        for open in [file, ""] {
            expect(name, &message(folder.path(), open), file, fragments);
        }
    }
}

/// Rows of a straight movement of 20 steps, in units of its recorder.
fn straight(dt: f64, dx: f64) -> Vec<u8> {
    let rows = (0..20).map(f64::from).map(|i| format!("{},{},5e-2\n", dt * i, dx * i));
    ["t,x,y\n".to_owned()].into_iter().chain(rows).collect::<String>().into_bytes()
}

/// Puts each broken file into a good V4 folder.
fn run(cases: Vec<Case>) {
    let good = tempfile::tempdir().unwrap();
    v4(good.path());
    assert!(message(good.path(), "").starts_with("read 12 movements"));
    for (name, file, bytes, fragments) in cases {
        let folder = tempfile::tempdir().unwrap();
        v4(folder.path());
        put(folder.path(), file, &bytes);
        expect(name, &message(folder.path(), ""), file, fragments);
    }
}

fn expect(name: &str, message: &str, file: &str, fragments: &[&str]) {
    assert!(!message.starts_with("read "), "{name}: {message}");
    for fragment in fragments.iter().chain([&file]) {
        assert!(message.contains(fragment), "{name}: {fragment:?} is not in {message:?}");
    }
}

#[test]
fn missing_and_odd_files() {
    let folder = tempfile::tempdir().unwrap();
    assert!(message(folder.path(), "").ends_with("folder: is empty, expected recordings"));
    expect("missing", &message(folder.path(), "nothing.json"), "nothing.json", &["No such file"]);
    for missing in ["C_train.npy", "L_val.npy", "X_test.npy"] {
        let folder = tempfile::tempdir().unwrap();
        v4(folder.path());
        fs::remove_file(folder.path().join(missing)).unwrap();
        expect("missing", &message(folder.path(), ""), missing, &["No such file"]);
    }
    let folder = tempfile::tempdir().unwrap();
    let deep: std::path::PathBuf = (0..12).map(|i| i.to_string()).collect();
    fs::create_dir_all(folder.path().join(deep)).unwrap();
    assert!(message(folder.path(), "").contains("nested more than 8 deep"));
    let folder = tempfile::tempdir().unwrap();
    v4(folder.path());
    fs::remove_file(folder.path().join("L_val.npy")).unwrap();
    fs::create_dir(folder.path().join("L_val.npy")).unwrap();
    expect("a folder for a file", &message(folder.path(), ""), "L_val.npy", &[]);
}

/// Opening a pipe to read would wait for a writer.
#[cfg(unix)]
#[test]
fn pipes_are_refused_and_not_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pipe.json");
    let made = std::process::Command::new("mkfifo").arg(&path).status();
    if !made.is_ok_and(|status| status.success()) {
        skip::skipped("mkfifo is not there");
        return;
    }
    expect("pipe", &message(folder.path(), "pipe.json"), "pipe.json", &["not a regular file"]);
    expect("pipe", &message(folder.path(), ""), "pipe.json", &["not a regular file"]);
    let folder = tempfile::tempdir().unwrap();
    v4(folder.path());
    for name in ["scaler.json", "normalization.json"] {
        let pipe = folder.path().join(name);
        let _ = fs::remove_file(&pipe);
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        expect("pipe", &message(folder.path(), ""), name, &["not a regular file"]);
        fs::remove_file(&pipe).unwrap();
    }
}

#[cfg(unix)]
#[test]
fn names_that_are_not_utf8_are_read() {
    use std::os::unix::ffi::OsStrExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(std::ffi::OsStr::from_bytes(b"\xff\xfe.json"));
    fs::write(&path, r#"{"x":[0,5,9],"y":[0,1,1],"t":[0,8,16]}"#).unwrap();
    assert_eq!(Dataset::open(&path, &ReadOptions::default()).unwrap().0.len(), 1);
    fs::write(&path, "{").unwrap();
    assert!(Dataset::open(&path, &ReadOptions::default()).unwrap_err().to_string().contains(".json: json: EOF"));
}

/// Every truncation and thousands of flipped bits of good files: an error or a data set, never a panic.
#[test]
fn damaged_files_never_panic() {
    let folder = tempfile::tempdir().unwrap();
    v4(folder.path());
    let mut items = limits();
    items.extend(b"\x8c\x0bclip_params}(");
    for name in ["speed", "accel", "ang_vel"] {
        items.extend([item(&format!("{name}_low"), 0.0), item(&format!("{name}_high"), 1.0)].concat());
    }
    items.push(b'u');
    put(folder.path(), "normalization_params.npy", &pickled_dict(&items));
    let (data, _) = Dataset::open(folder.path(), &ReadOptions::default()).unwrap();
    assert_eq!(data.scaler().unwrap().clip_high, [1.0; 3]);
    let mut rng = trajgan::rng::Rng::new(1, trajgan::rng::Stream::Demo, 0);
    for name in ["normalization_params.npy", "L_train.npy", "X_val.npy"] {
        let good = fs::read(folder.path().join(name)).unwrap();
        for end in (0..good.len()).step_by(3) {
            put(folder.path(), name, &good[..end]);
            assert!(!message(folder.path(), "").starts_with("read"), "{name} {end}");
        }
        for _ in 0..700 {
            let mut bad = good.clone();
            let at = rng.below(bad.len());
            bad[at] ^= 1 << rng.below(8);
            put(folder.path(), name, &bad);
            message(folder.path(), "");
        }
        put(folder.path(), name, &good);
    }
}

/// A file may be as large as the limit says, packed or not; one byte more is too many.
#[test]
fn a_file_of_just_the_allowed_size_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let line = "{\"x\":[0,5,9],\"y\":[0,1,1],\"t\":[0,8,16]}\n";
    let row =
        |i: i32| format!("{},{},5\n", 10 * i, (300.0 * (2.0 - f64::from(i) / 19.0) * f64::from(i) / 19.0).round());
    let table = format!("t,x,y\n{}", (0..20).map(row).collect::<String>());
    for (name, text) in [("a.json", line), ("b.jsonl", &line.repeat(3)), ("d.jsonl", line.trim()), ("c.csv", &table)] {
        put(folder.path(), name, text.as_bytes());
        put(folder.path(), &format!("{name}.gz"), &gz(text.as_bytes()));
        for name in [name.to_owned(), format!("{name}.gz")] {
            let read = |max_bytes: usize| {
                let options = ReadOptions { max_bytes: max_bytes as u64, ..ReadOptions::default() };
                Dataset::open(&folder.path().join(&name), &options).map(|(data, _)| data.len())
            };
            assert_eq!(read(text.len()).ok(), Some(text.matches("\"x\"").count().max(1)), "{name}");
            let message = read(text.len() - 1).unwrap_err().to_string();
            assert!(
                message.contains(&name) && message.contains(&format!("is above {} bytes", text.len() - 1)),
                "{message}"
            );
        }
    }
}
