//! Tens of thousands of broken inputs: bytes flipped, cut, doubled, spliced and replaced in good files of every kind. A
//! reader may take them or refuse them with an error that names the file; it may not panic, and what it takes is usable.

use std::fs;
use std::path::Path;

use trajgan::data::{Dataset, ReadOptions};
use trajgan::files::{FORMAT_KEY, TensorFile};
use trajgan::rng::{Rng, Stream};
use trajgan::{Device, Model};

/// Numbers and texts that readers stumble over.
const NASTY: [&[u8]; 24] = [
    b"",
    b"0",
    b"-1",
    b"1e999",
    b"-1e300",
    b"5e-324",
    b"NaN",
    b"null",
    b"18446744073709551616",
    b"9007199254740993",
    b"[[[[[[[[",
    b"{\"",
    b"\"\\ud800\"",
    b"\xff\xfe",
    b"\xef\xbb\xbf",
    b"\0",
    b"\r\n",
    b",,,,",
    b"\xff\xff\xff\xff",
    b"\x00\x00\x00\x80",
    b"\x7f\xf8\x00\x00",
    b"cos\nsystem\n",
    b"(lp0\n",
    b"\x85R.",
];

/// One to four changes.
fn spoil(good: &[u8], rng: &mut Rng) -> Vec<u8> {
    let mut bytes = good.to_vec();
    for _ in 0..1 + rng.below(4) {
        let at = rng.below(bytes.len().max(1));
        let end = (at + rng.below(12)).min(bytes.len());
        match rng.below(7) {
            _ if bytes.is_empty() => return bytes,
            0 => bytes[at] ^= 1 << rng.below(8),
            1 => bytes[at] = rng.word() as u8,
            2 => bytes.truncate(at),
            3 => _ = bytes.splice(at..end, NASTY[rng.below(NASTY.len())].iter().copied()),
            4 => _ = bytes.drain(at..end),
            5 => {
                let part = bytes[at..end].to_vec();
                let to = rng.below(bytes.len());
                bytes.splice(to..to, part);
            }
            _ => {
                let part = bytes[at..end].to_vec();
                let to = rng.below(bytes.len() - part.len() + 1);
                bytes[to..to + part.len()].copy_from_slice(&part);
            }
        }
    }
    bytes
}

/// Reads the file as it is, and spoilt in so many ways.
fn sweep(name: &str, good: &[u8], rounds: usize, mut read: impl FnMut(&[u8]) -> Result<(), String>) {
    read(good).unwrap_or_else(|e| panic!("{name}, as it was: {e}"));
    let mut taken = 0;
    for round in 0..rounds {
        let bytes = spoil(good, &mut Rng::new(11, Stream::Demo, round as u64));
        match read(&bytes) {
            Ok(()) => taken += 1,
            Err(message) => assert!(message.contains(name), "{name}, round {round}: {message}"),
        }
    }
    println!("{name}: {taken} of {rounds} taken");
    assert!(taken < rounds, "{name}: nothing is ever refused");
}

/// Finite numbers, rising times; arrays of finite numbers.
fn open(path: &Path, options: &ReadOptions) -> Result<(), String> {
    let (data, report) = Dataset::open(path, options).map_err(|e| e.to_string())?;
    assert_eq!((data.len(), data.is_empty()), (report.read, false));
    for movement in data.movements() {
        let points = &movement.points;
        assert!(points.len() >= 3 && points.windows(2).all(|p| p[0].t_ms < p[1].t_ms), "{points:?}");
        assert!(points.iter().all(|p| p.x.is_finite() && p.y.is_finite() && p.t_ms.is_finite()), "{points:?}");
    }
    Ok(())
}

#[test]
fn recordings() {
    let folder = tempfile::tempdir().unwrap();
    let line = "{\"x\":[0,5,9,12],\"y\":[0,1,1.5,3],\"t\":[0,8,16.25,24],\"user\":\"a\",\"session\":7}\n";
    let row = |i: i32| format!("{},{},{},NoButton,Move,s{}\n", 16 * i, 9 * i, 2 * i, i / 40);
    let rows: String = (0..60).map(row).collect();
    let balabit = |i: i32| format!("{0},{0},NoButton,Move,{1},{2}\n", 0.016 * f64::from(i), 10 * i, 3 * i);
    let session: String = (0..40).map(balabit).collect();
    let cases = [
        ("a.json", line.to_owned()),
        ("b.jsonl", line.repeat(4)),
        ("c.csv", format!("t,x,y,button,state,session\n{rows}")),
        ("session_9", format!("record timestamp,client timestamp,button,state,x,y\n{session}")),
    ];
    // Rules that let pass what the default ones stop: constant speed to the end, and any speed at all.
    let cut = trajgan::data::CutOptions { max_end_speed: 2.0, max_speed: f64::MAX, ..Default::default() };
    for (name, text) in cases {
        let path = folder.path().join(name);
        let options = ReadOptions { max_bytes: 1 << 20, cut: cut.clone(), ..ReadOptions::default() };
        sweep(name, text.as_bytes(), 5000, |bytes| {
            fs::write(&path, bytes).unwrap();
            open(&path, &options)
        });
    }
}

fn npy(descr: &str, shape: &str, data: &[u8]) -> Vec<u8> {
    let header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n");
    [b"\x93NUMPY\x01\x00", &(header.len() as u16).to_le_bytes()[..], header.as_bytes(), data].concat()
}

/// As NumPy pickles a dict of these numbers in an array.
fn params() -> Vec<u8> {
    let item = |name: &str| [&[0x8c, name.len() as u8][..], name.as_bytes(), b"G\x3f\xf0\0\0\0\0\0\0"].concat();
    let two = |names: &[&str], ends: [&str; 2]| -> Vec<u8> {
        names.iter().flat_map(|n| ends.iter().flat_map(move |e| item(&format!("{n}_{e}")))).collect()
    };
    let names = ["dx", "dy", "speed", "accel", "sin_h", "cos_h", "ang_vel", "dt", "actual_dist"];
    let clip = two(&["speed", "accel", "ang_vel"], ["low", "high"]);
    let pickle = [
        b"\x80\x04cnumpy._core.multiarray\n_reconstruct\n)R(K\x01)N\x89]}(".to_vec(),
        two(&names, ["min", "max"]),
        b"\x8c\x0bclip_params}(".to_vec(),
        clip,
        b"uuatb.".to_vec(),
    ];
    npy("|O", "()", &pickle.concat())
}

#[test]
fn arrays() {
    let folder = tempfile::tempdir().unwrap();
    let floats = |n: usize| (0..n).flat_map(|i| (0.01 * i as f32).to_le_bytes()).collect::<Vec<u8>>();
    let lengths: Vec<u8> = [3i32, 4].iter().flat_map(|n| n.to_le_bytes()).collect();
    for split in ["train", "val", "test"] {
        let put = |letter: &str, bytes: Vec<u8>| fs::write(folder.path().join(format!("{letter}_{split}.npy")), bytes);
        put("X", npy("<f4", "(2, 4, 8)", &floats(64))).unwrap();
        put("C", npy("<f4", "(2,)", &floats(2))).unwrap();
        put("L", npy("<i4", "(2,)", &lengths)).unwrap();
    }
    let (params, limits) = ("normalization_params.npy", "scaler.json");
    fs::write(folder.path().join(params), self::params()).unwrap();
    // The folder's name stands for files that are checked against each other.
    let name_of_folder = folder.path().display().to_string();
    let try_file = |name: &str, good: &[u8], rounds: usize| {
        let path = folder.path().join(name);
        sweep(&name_of_folder, good, rounds, |bytes| {
            fs::write(&path, bytes).unwrap();
            open(folder.path(), &ReadOptions { max_bytes: 1 << 20, ..ReadOptions::default() })
        });
        fs::write(&path, good).unwrap();
    };
    for name in ["X_train.npy", "C_val.npy", "L_test.npy"] {
        let good = fs::read(folder.path().join(name)).unwrap();
        try_file(name, &good, 1500);
    }
    try_file(params, &self::params(), 3000);
    let scaler = "{\"min\":[0,0,0,0,0,0,0,0],\"max\":[1,1,1,1,1,1,1,1],\"clip_low\":[0,0,0],\"clip_high\":[1,1,1],\
                  \"condition_min\":[0],\"condition_max\":[1]}";
    try_file(limits, scaler.as_bytes(), 1500);
}

/// The container as it is, and with a hash that is right, so that what is behind the hash is tried, too.
#[test]
fn model_files() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/formats/1_closed_loop.safetensors");
    let bytes = fs::read(&path).unwrap();
    let name = "m.safetensors";
    let good = TensorFile::read(&path).unwrap();
    sweep(name, &bytes, 2000, |bytes| {
        // Some changes change nothing: a zero in place of a zero, another blank in the header.
        let same = |file: TensorFile| assert!(file == good, "a content that is not that of the hash");
        TensorFile::from_bytes(Path::new(name), bytes).map(same).map_err(|e| e.to_string())
    });

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    let metadata = good.metadata[FORMAT_KEY].clone();
    sweep(name, metadata.as_bytes(), 1000, |bytes| {
        let mut file = good.clone();
        file.metadata.insert(FORMAT_KEY.into(), String::from_utf8_lossy(bytes).into_owned());
        file.write(&path, false).unwrap();
        Model::load(&path, Device::Cpu).map(drop).map_err(|e| e.to_string())
    });
}
