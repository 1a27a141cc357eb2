//! The real recordings, where they are there, and files made up here.

mod skip;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use trajgan::config::ConditionKind;
use trajgan::data::{Dataset, LengthAware, ReadOptions, ReadReport, Stratified, Waste, features};
use trajgan::{Config, Movement};

fn shared(path: &str) -> Option<PathBuf> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/data").join(path);
    if !path.exists() {
        skip::skipped(format_args!("{} is not there", path.display()));
        return None;
    }
    Some(path)
}

fn open(path: &Path) -> (Dataset, ReadReport) {
    Dataset::open(path, &ReadOptions::default()).unwrap()
}

#[test]
fn json_lines_gzipped() {
    let Some(path) = shared("balabit/raw") else { return };
    let (data, report) = open(&path);
    assert_eq!((data.len(), report.read, report.rejections()), (8000, 8000, 0));
    assert_eq!((data.condition_dim(), data.feature_dim(), data.longest()), (1, 8, 174));
    assert_eq!(data.movements()[0].user.as_deref(), Some("user7"));
    let path_max = data.movements().iter().map(Movement::path_length).fold(0.0, f64::max);
    assert!((path_max - 1588.0).abs() < 1.0, "{path_max}");

    let config = Config { max_seq_len: 128, ..Config::default() };
    let prepared = data.prepare(&config, None).unwrap();
    let report = &prepared.report;
    assert_eq!(report.sessions, 14);
    let out = report.too_long + report.too_short + report.outliers;
    assert_eq!(report.train + report.validation + report.test + out, 8000);
    assert!(report.train > 3800 && report.validation > 800 && report.test > 800, "{report:?}");
    let sessions = |split: &trajgan::data::Split| -> BTreeSet<String> {
        (0..split.len()).map(|i| split.movement(i).unwrap().session.clone().unwrap()).collect()
    };
    let [a, b, c] = [&prepared.train, &prepared.validation, &prepared.test].map(sessions);
    assert!(a.is_disjoint(&b) && a.is_disjoint(&c) && b.is_disjoint(&c));
    assert_eq!(data.prepare(&config, None).unwrap(), prepared);
    let other = data.prepare(&Config { seed: 1, ..config }, None).unwrap();
    assert_ne!(other.hash, prepared.hash);

    let scaler = prepared.scaler.as_ref().unwrap();
    assert_eq!(scaler.min[0], -scaler.max[0]);
    for split in [&prepared.train, &prepared.validation, &prepared.test] {
        for i in 0..split.len() {
            assert_eq!(split.features(i), scaler.scale(&features(&split.movement(i).unwrap().points)));
            assert!(split.features(i).iter().chain(split.condition(i)).all(|v| v.abs() <= 1.0));
        }
    }
    let mut rng = trajgan::rng::Rng::new(1, trajgan::rng::Stream::SampleLength, 0);
    let drawn = |c: f32, rng: &mut trajgan::rng::Rng| {
        (0..2000).map(|_| prepared.lengths.draw(c, rng.unit())).sum::<usize>() as f64 / 2000.0
    };
    let (short, long) = (drawn(-1.0, &mut rng), drawn(1.0, &mut rng));
    assert!(short > 10.0 && long > 1.5 * short && long < 128.0, "{short} {long}");
}

#[test]
fn v4_folder() {
    let Some(path) = shared("balabit/processed") else { return };
    let (data, report) = open(&path);
    assert_eq!((data.len(), report.read), (4000, 4000));
    let scaler = data.scaler().unwrap();
    assert_eq!((scaler.min[0], scaler.max[0], scaler.min[7], scaler.max[7]), (-1263.0, 1394.0, 0.015, 0.203));
    assert_eq!((scaler.min[4], scaler.max[5]), (-1.0, 1.0));
    assert_eq!(scaler.clip_high[2], scaler.max[6]);
    assert_eq!(scaler.condition_min, [20.0]);
    let config = Config { max_seq_len: 128, quality_z: 0.0, quality_min_length: 0, ..Config::default() };
    let prepared = data.prepare(&config, None).unwrap();
    let sizes = [&prepared.train, &prepared.validation, &prepared.test].map(|s| s.len());
    assert_eq!(sizes, [2400, 800, 800]);
    // The seed's filter in NumPy (float32 means) leaves 2110 of 2400, 2296 of which are long enough.
    let config = Config { max_seq_len: 128, ..Config::default() };
    let filtered = data.prepare(&config, None).unwrap();
    assert_eq!((filtered.report.train, filtered.report.too_short), (2110, 104));

    let mut sampler = LengthAware::new(&prepared.train.lengths(), 64, 7);
    let (mut waste, mut seen) = (Waste::default(), BTreeSet::new());
    for iteration in 0..sampler.batches_per_epoch() {
        let batch = sampler.batch(iteration);
        waste.add(&batch.iter().map(|&i| prepared.train.length(i)).collect::<Vec<_>>());
        seen.extend(batch);
    }
    assert_eq!(seen.len(), 2400 / 64 * 64);
    assert!(waste.share() > 0.05 && waste.share() < 0.4, "{}", waste.share());
    let batch = Stratified::new(&prepared.train.first_conditions(), 64, 7).batch(0, 0);
    assert_eq!(batch.iter().collect::<BTreeSet<_>>().len(), 64);

    let short = data.prepare(&Config { max_seq_len: 40, ..config.clone() }, None).unwrap();
    assert!(short.report.too_long > 500 && short.train.lengths().iter().all(|&l| l <= 40));
    let message = data.prepare(&Config { condition_dim: 2, ..config.clone() }, None).unwrap_err().to_string();
    assert_eq!(message, "condition_dim is 2, expected 1 as in the data set");
    let message = data.prepare(&Config { feature_dim: 5, ..config }, None).unwrap_err().to_string();
    assert_eq!(message, "feature_dim is 5, expected 8 as in the data set");
}

/// The V4 arrays were made from the raw movements by path length; so are ours.
#[test]
fn prepared_movements_are_the_processed_ones() {
    let (Some(raw), Some(processed)) = (shared("balabit/raw"), shared("balabit/processed")) else { return };
    let (raw, processed) = (open(&raw).0, open(&processed).0);
    let config = Config {
        max_seq_len: 128,
        quality_z: 0.0,
        quality_min_length: 0,
        condition: ConditionKind::Path,
        ..Config::default()
    };
    let theirs = processed.prepare(&config, None).unwrap();
    let ours = raw.prepare(&config, processed.scaler()).unwrap();
    let key = |c: f32, f: &[f32]| (c.to_bits(), f.len(), f.iter().map(|v| (v * 1000.0).round() as i64).sum::<i64>());
    let mut known = BTreeSet::new();
    for split in [&ours.train, &ours.validation, &ours.test] {
        known.extend((0..split.len()).map(|i| key(split.condition(i)[0], split.features(i))));
    }
    let train = &theirs.train;
    let found = (0..train.len()).filter(|&i| known.contains(&key(train.condition(i)[0], train.features(i)))).count();
    assert_eq!(found, train.len());
}

#[test]
fn json_files_with_repeated_positions() {
    let Some(path) = shared("json_examples") else { return };
    let (data, report) = open(&path);
    assert_eq!((data.len(), report.rejections()), (6, 0));
    let points = |m: &Movement| m.points.windows(2).filter(|p| p[0].x == p[1].x && p[0].y == p[1].y).count();
    assert!(data.movements().iter().all(|m| (1..=14).contains(&points(m))));
    let (one, _) = open(&path.join("trajectory_0001.json"));
    assert_eq!(one.movements()[0].points.len(), 23);
}

/// Counts and ends from a separate implementation of README's rules in Python.
/// As in CSV files the last is taken, and the others are counted. Time that runs backwards is an error.
#[test]
fn json_points_of_one_time() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.jsonl");
    let lines = [
        r#"{"x":[0,5,9,30,31],"y":[0,1,2,3,4],"t":[0,8,8,16,16]}"#,
        r#"{"x":[0,5,9],"y":[0,1,2],"t":[8,8,16]}"#,
        r#"{"x":[0,5,9,30],"y":[0,1,2,3],"t":[0,8,8,7]}"#,
    ];
    std::fs::write(&path, lines.join("\n")).unwrap();
    let (data, report) = open(&path);
    let [m] = data.movements() else { panic!("{report:?}") };
    assert_eq!(
        m.points.iter().map(|p| (p.x, p.y, p.t_ms)).collect::<Vec<_>>(),
        [(0.0, 0.0, 0.0), (9.0, 2.0, 8.0), (31.0, 4.0, 16.0)]
    );
    assert_eq!(report.counts, [("broken line".into(), 2), ("repeated time".into(), 2)].into());
    let [first, second, few, backwards] = &report.rejected[..] else { panic!("{report:?}") };
    assert!(first.source.ends_with("a.jsonl: line 1: t[1]") && second.source.ends_with("line 1: t[3]"), "{report:?}");
    assert_eq!(first.reason, "repeated time: 8 ms, as that after it, which is taken");
    assert!(few.reason.contains("line 2: points[1].t_ms: is 8, expected more than"), "{few:?}");
    assert!(backwards.reason.contains("t_ms: is 8"), "{backwards:?}");
}

#[test]
fn sessions_are_cut_by_the_rules() {
    let Some(path) = shared("balabit/sessions") else { return };
    let expected = [
        ("user12", 36, 390, (688.0, 184.0), (444.0, 86.0), 952.0),
        ("user7", 64, 1819, (270.0, 663.0), (232.0, 657.0), 234.0),
        ("user9", 12, 425, (271.0, 460.0), (249.0, 339.0), 1030.0),
    ];
    let (all, report) = open(&path);
    assert_eq!(all.len(), 112);
    assert!(report.rejections() > 200 && report.rejected.len() == 100, "{}", report.rejections());
    for kind in ["not a position", "too few points", "not one target", "cut off at speed"] {
        assert!(report.counts[kind] > 0, "{:?}", report.counts);
    }
    for (user, movements, points, start, end, duration) in expected {
        let (data, report) = open(&path.join(user));
        assert_eq!((data.len(), report.read), (movements, movements), "{user}");
        let all = data.movements();
        assert_eq!(all.iter().map(|m| m.points.len()).sum::<usize>(), points, "{user}");
        let (first, last) = (all[0].points[0], all[0].points[all[0].points.len() - 1]);
        assert_eq!(((first.x, first.y), (last.x, last.y), last.t_ms), (start, end, duration), "{user}");
        for m in all {
            assert_eq!(m.user.as_deref(), Some(user));
            assert!(m.session.as_ref().unwrap().starts_with("session_"));
            assert!(m.points.iter().all(|p| p.x < 10_000.0 && p.t_ms == p.t_ms.round()));
            assert!((8..=200).contains(&m.points.len()) && m.straight_distance() >= 20.0);
            assert!(m.path_length() <= 1.5 * m.straight_distance() && (80.0..=4000.0).contains(&m.duration_ms()));
        }
    }
}

const HEADER: &str = "t,x,y,state,session\n";

/// A movement of 20 points along x that slows down, from time `t`, with rows "t,x,y,Move,session".
fn rows(t: f64, session: &str) -> String {
    let row = |i: i32| {
        let s = f64::from(i) / 19.0;
        format!("{},{},{},Move,{session}\n", t + f64::from(i) * 10.0, (300.0 * (2.0 - s) * s).round(), 50)
    };
    (0..20).map(row).collect()
}

/// The same as rows "t,x,y", a millisecond so many units of time.
fn plain_rows(t: f64, unit: f64) -> String {
    let row = |line: &str| {
        let fields: Vec<&str> = line.split(',').collect();
        format!("{},{},{}\n", fields[0].parse::<f64>().unwrap() * unit, fields[1], fields[2])
    };
    rows(t, "").lines().map(row).collect()
}

#[test]
fn csv_is_cut_at_pauses_presses_and_broken_rows() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.csv");
    let count = |text: String| {
        std::fs::write(&path, text).unwrap();
        let (data, report) = open(&path);
        (data.len(), report.rejections())
    };
    assert_eq!(count(format!("{HEADER}{}", rows(0.0, "a"))), (1, 0));
    // The last point is at 190; a pause of 210 is the longest that does not cut.
    let pause = |at: f64| count(format!("{HEADER}{}{}", rows(0.0, "a"), rows(at, "a")));
    assert_eq!(pause(190.0 + 211.0), (2, 0));
    std::fs::write(&path, format!("{HEADER}{}{}", rows(0.0, "a"), rows(190.0 + 210.0, "a"))).unwrap();
    let there_and_back = Dataset::open(&path, &ReadOptions::default()).unwrap_err().to_string();
    assert!(there_and_back.contains("none found (1 not one target; first "), "{there_and_back}");
    assert!(there_and_back.ends_with(", max_path_ratio is 1.5)"), "{there_and_back}");
    assert_eq!(count(format!("{HEADER}{}{}", rows(1000.0, "a"), rows(900.0, "a"))), (2, 0));
    let press = "195,300,50,Pressed,a\n";
    assert_eq!(count(format!("{HEADER}{}{press}{}", rows(0.0, "a"), rows(200.0, "a"))), (2, 0));
    // Another session's rows in between do not cut; each session has a clock of its own.
    let (a, b) = (rows(0.0, "a"), rows(5.0, "b"));
    let mixed: String = a.lines().zip(b.lines()).map(|(a, b)| format!("{a}\n{b}\n")).collect();
    assert_eq!(count(format!("{HEADER}{mixed}")), (2, 0));
    let broken = rows(0.0, "a").replacen(",50,", ",fifty,", 1);
    assert_eq!(count(format!("{HEADER}{broken}{}", rows(500.0, "a"))), (2, 1));
    // It breaks its own session, not that of the row before. Halves are cut off at speed.
    let b = rows(5.0, "b").replacen("105,", "?,", 1);
    let mixed: String = a.lines().zip(b.lines()).map(|(a, b)| format!("{a}\n{b}\n")).collect();
    std::fs::write(&path, format!("{HEADER}{mixed}")).unwrap();
    let (data, report) = open(&path);
    assert!(report.counts.contains_key("broken row"), "{report:?}");
    let whole =
        |name: &str| data.movements().iter().any(|m| m.points.len() == 20 && m.session.as_deref() == Some(name));
    assert!(whole("a") && !whole("b"), "{report:?}");
    // Resting at both ends does not count; of rows at one time the last does; 65535 is no position.
    let rest = "-30,0,50,Move,a\n-20,0,50,Move,a\n-10,65535,65535,Move,a\n";
    let text =
        format!("{HEADER}{rest}{}200,300,50,Move,a\n", rows(0.0, "a").replacen("0,0,50", "0,9,50,Move,a\n0,0,50", 1));
    std::fs::write(&path, text).unwrap();
    let (data, report) = open(&path);
    assert_eq!(report.counts, [("not a position".into(), 1), ("repeated time".into(), 1)].into());
    assert!(report.rejected[1].reason.starts_with("repeated time: 0 ms"), "{report:?}");
    let m = &data.movements()[0];
    assert_eq!((m.points.len(), m.points[0].x, m.duration_ms()), (20, 0.0, 190.0));
    assert_eq!(m.session.as_deref(), Some("a"));
}

#[test]
fn csv_columns_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mine.csv");
    let text: String = rows(0.0, "-")
        .lines()
        .map(|l| l.split(',').collect::<Vec<_>>())
        .map(|f| format!("{};0;{};{}\n", f[2], f[0], f[1]).replace(';', ","))
        .collect();
    std::fs::write(&path, format!("\u{feff}Y,button,\"T\",X\r\n{}", text.replace('\n', "\r\n"))).unwrap();
    let (data, _) = open(&path);
    let m = &data.movements()[0];
    assert_eq!((m.duration_ms(), m.points[0].y, m.session.as_deref()), (190.0, 50.0, Some("mine")));
    // The same numbers as seconds are far too slow.
    let seconds = ReadOptions { csv_seconds: true, ..ReadOptions::default() };
    assert!(Dataset::open(&path, &seconds).is_err());
    // A column that says its unit keeps it.
    std::fs::write(&path, format!("t_ms,x,y\n{}", plain_rows(0.0, 1.0))).unwrap();
    assert_eq!(Dataset::open(&path, &seconds).unwrap().0.movements()[0].duration_ms(), 190.0);
}

/// Files of one name in several folders, and names with dots, are sessions of their own; a movement without a session is
/// one, too. What is recorded together is learnt from or tested with.
#[test]
fn sessions_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["ann/a.csv", "bob/a.csv", "eve/2024.01.05.csv", "eve/2024.01.06.csv"] {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let text: String = (0..5).map(|i| rows(1000.0 * f64::from(i), "-").replace(",-", ",")).collect();
        std::fs::write(path, format!("t,x,y,state,button\n{text}")).unwrap();
    }
    let (mut data, _) = open(folder.path());
    let config = Config { quality_z: 0.0, ..Config::default() };
    assert_eq!(data.prepare(&config, None).unwrap().report.sessions, 4);
    let alone = data.movements()[0].points.clone();
    data.push(trajgan::Movement::new(alone).unwrap(), None).unwrap();
    let prepared = data.prepare(&config, None).unwrap();
    assert_eq!(prepared.report.sessions, 4);
    for session in data.movements().iter().filter_map(|m| m.session.as_ref()) {
        let splits = [&prepared.train, &prepared.validation, &prepared.test];
        let has = |split: &&&trajgan::data::Split| {
            (0..split.len()).any(|i| split.movement(i).unwrap().session.as_ref() == Some(session))
        };
        assert_eq!(splits.iter().filter(has).count(), 1, "{session}");
    }
}

/// Numbers of sessions that every file begins anew name other sessions in every file, unless a user is named, too. A cell that is
/// empty names none.
#[test]
fn sessions_of_several_files_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let sessions = |files: &[(&str, String)]| {
        for (name, text) in files {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        let (data, _) = open(folder.path());
        let names: BTreeSet<String> = data.movements().iter().filter_map(|m| m.session.clone()).collect();
        names.into_iter().collect::<Vec<_>>()
    };
    let numbered = |session: &str| format!("{HEADER}{}", rows(0.0, session));
    assert_eq!(sessions(&[("u1.csv", numbered("1")), ("u2.csv", numbered("1"))]), ["u1/1", "u2/1"]);
    assert_eq!(sessions(&[("u1.csv", numbered("")), ("u2.csv", numbered(""))]), ["u1", "u2"]);
    let users = |user: &str| {
        let text: String = rows(0.0, "1").lines().map(|row| format!("{row},{user}\n")).collect();
        format!("t,x,y,state,session,user\n{text}")
    };
    assert_eq!(sessions(&[("u1.csv", users("ann")), ("u2.csv", users("ann"))]), ["1"]);
    assert_eq!(sessions(&[("u1.csv", users("")), ("u2.csv", users("ann"))]), ["1", "u1/1"]);
    let (one, _) = open(&folder.path().join("u1.csv"));
    assert_eq!(one.movements()[0].session.as_deref(), Some("1"));
}

/// Of many things that are wrong a stray file is not the one to name.
#[test]
fn where_nothing_is_left_all_reasons_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    let put = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    put("thumbs.db", "");
    let message = || Dataset::open(folder.path(), &ReadOptions::default()).unwrap_err().to_string();
    assert!(message().contains("thumbs.db: name"), "{}", message());
    put("a.csv", "t,x,y\n0,0,0\n10,90,0\n20,95,0\n");
    assert!(message().contains("none found (1 too few points, 1 unknown kind of file; first "), "{}", message());
}

/// The seeded split must not see another order of sessions because the folder is spelled in another way.
#[cfg(unix)]
#[test]
fn sessions_do_not_depend_on_how_the_path_is_spelled() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().canonicalize().unwrap();
    std::fs::create_dir(root.join("sub")).unwrap();
    for i in 0..8 {
        std::fs::write(root.join(format!("sub/day{i}.csv")), format!("t,x,y\n{}", plain_rows(0.0, 1.0))).unwrap();
        // By name these stand between two spellings of the folder.
        let named = rows(0.0, &format!("..{i}"));
        std::fs::write(root.join(format!("named{i}.csv")), format!("{HEADER}{named}")).unwrap();
    }
    let up = "../".repeat(std::env::current_dir().unwrap().components().count() - 1);
    let relative = Path::new(&up).join(root.strip_prefix("/").unwrap());
    let dotted = root.join("sub/..").join(".");
    let config = Config { quality_z: 0.0, ..Config::default() };
    let of = |path: &Path| {
        let (data, _) = open(path);
        let sessions: Vec<_> = data.movements().iter().map(|m| m.session.clone().unwrap()).collect();
        let prepared = data.prepare(&config, None).unwrap();
        assert_eq!(prepared.report.sessions, 16);
        let test = |i: usize| prepared.test.movement(i).unwrap().session.clone();
        (sessions, (0..prepared.test.len()).map(test).collect::<Vec<_>>(), prepared.hash)
    };
    let absolute = of(&root);
    assert_eq!((absolute.0[0].as_str(), absolute.0[8].as_str()), ("named0/..0", "sub/day0"));
    assert_eq!(of(&relative), absolute);
    assert_eq!(of(&dotted), absolute);
    let (one, _) = open(&relative.join("sub/day3.csv"));
    assert_eq!(one.movements()[0].session.as_deref(), Some("day3"));
    // A Balabit session's user is its folder, however that is spelled.
    let balabit = format!("client timestamp,x,y\n{}", plain_rows(0.0, 0.001));
    std::fs::create_dir_all(root.join("ann/more")).unwrap();
    std::fs::write(root.join("ann/session_1"), balabit).unwrap();
    for path in ["ann", "ann/more/..", "ann/more/../session_1"] {
        let (data, _) = open(&root.join(path));
        let m = &data.movements()[0];
        assert_eq!((m.user.as_deref(), m.session.as_deref()), (Some("ann"), Some("session_1")), "{path}");
    }
}

/// A comma in quotes is text. A row of more fields than the header has shifted columns.
#[test]
fn csv_fields_may_be_quoted() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.csv");
    let read = |text: String| {
        std::fs::write(&path, text).unwrap();
        let (data, report) = open(&path);
        assert_eq!((data.len(), report.rejections()), (1, 0));
        let m = &data.movements()[0];
        assert_eq!((m.points.len(), m.points[19].x, m.points[19].y), (20, 300.0, 50.0));
        m.session.clone().unwrap()
    };
    let with = |first: &str, last: &str| -> String {
        plain_rows(0.0, 1.0).lines().map(|line| format!("{first}{line}{last}\n")).collect()
    };
    assert_eq!(read(format!("session,t,x,y\n{}", with("\"Ann, \"\"A\"\"\" ,", ""))), "Ann, \"A\"");
    assert_eq!(read(format!("\"a, x\",\"T\", \"x\" ,y\n{}", with("7,", ""))), "a");
    let numbers: String = plain_rows(0.0, 1.0).lines().map(|l| format!("\"{}\"\n", l.replace(',', "\", \""))).collect();
    assert_eq!(read(format!("t,x,y\n{numbers}")), "a");
    // Nothing beyond the header's columns is no field.
    assert_eq!(read(format!("t,x,y\n{}", with("", ", ,"))), "a");
    for (row, reason) in [
        ("195,1,5,300,50", "line 22: has 5 fields, expected 3 as in line 1"),
        ("195,\"300,50", "line 22: has a quote that does not end"),
    ] {
        let text = format!("t,x,y\n{}{row}\n{}", plain_rows(0.0, 1.0), plain_rows(200.0, 1.0));
        std::fs::write(&path, text).unwrap();
        let (data, report) = open(&path);
        assert_eq!((data.len(), report.counts["broken row"]), (2, 1));
        assert_eq!(report.rejected[0].reason, reason);
    }
}

/// Of some programs, and not a part of the text.
#[test]
fn a_byte_order_mark_costs_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let line = "{\"x\":[0,5,9],\"y\":[0,1,1],\"t\":[0,8,16]}";
    for (name, text) in [
        ("a.json", line.to_owned()),
        ("b.jsonl", format!("{line}\n{line}\n")),
        ("session_1", format!("client timestamp,x,y\n{}", plain_rows(0.0, 0.001))),
        ("d.csv", format!("\"t\",x,y\n{}", plain_rows(0.0, 1.0))),
    ] {
        let path = folder.path().join(name);
        std::fs::write(&path, &text).unwrap();
        let plain = open(&path);
        std::fs::write(&path, format!("\u{feff}{text}")).unwrap();
        let marked = open(&path);
        assert_eq!((marked.0.movements(), marked.1), (plain.0.movements(), plain.1), "{name}");
    }
}

/// Browsers number buttons in two ways: `buttons` is 0 where none is down, `PointerEvent.button` is -1 there and 0 for the left one.
#[test]
fn buttons_as_browsers_number_them() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.csv");
    let moves = |t: f64, none: &str| rows(t, "").replace("Move,", none);
    for (none, left) in [("0", "1"), ("-1", "0")] {
        let text = format!("t,x,y,button\n{}195,300,50,{left}\n{}", moves(0.0, none), moves(200.0, none));
        std::fs::write(&path, text).unwrap();
        let (data, report) = open(&path);
        let points: Vec<usize> = data.movements().iter().map(|m| m.points.len()).collect();
        assert_eq!((points, report.rejections()), (vec![20, 20], 0), "none is {none}");
    }
}

/// A word that the reader does not know would be a press in every row.
#[test]
fn a_recording_without_a_move_says_so() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.csv"), format!("{HEADER}{}", rows(0.0, "a"))).unwrap();
    let path = folder.path().join("b.csv");
    for (text, reason) in [
        (format!("{HEADER}{}", rows(0.0, "a").replace("Move", "moved")), "state is \"moved\", expected \"move\""),
        (
            format!("t,x,y,button\n{}", rows(0.0, "").replace("Move,", "up")),
            "button is \"up\", expected NoButton, none, nothing, or -1 or else 0",
        ),
    ] {
        std::fs::write(&path, text).unwrap();
        let message = Dataset::open(&path, &ReadOptions::default()).unwrap_err().to_string();
        let expected = format!("none found (1 no moves; first {}: line 2: {reason})", path.display());
        assert!(message.ends_with(&expected), "{message}");
        let (_, report) = open(folder.path());
        assert_eq!((report.read, report.counts["no moves"]), (1, 1));
    }
}

#[test]
fn json_lines_bring_their_own_conditions() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.jsonl");
    let line = |c: &str| format!("{{\"x\":[0,5,9],\"y\":[0,1,1],\"t\":[0,8,16],\"user\":7{c}}}\n");
    std::fs::write(
        &path,
        line(",\"condition\":[1,2]") + &line(",\"condition\":[3]") + &line("") + &line(",\"condition\":[5,6]"),
    )
    .unwrap();
    let (data, report) = open(&path);
    assert_eq!((data.len(), data.condition_dim(), report.rejections()), (2, 2, 2));
    assert_eq!(data.movements()[0].user.as_deref(), Some("7"));
    let config = Config { condition_dim: 2, quality_min_length: 0, quality_z: 0.0, ..Config::default() };
    let prepared = data.prepare(&config, None).unwrap();
    assert_eq!(prepared.scaler.unwrap().condition_min.len(), 2);
}

#[test]
fn a_broken_file_costs_only_itself() {
    let folder = tempfile::tempdir().unwrap();
    let good = "{\"x\":[0,5,9],\"y\":[0,1,1],\"t\":[0,8,16]}";
    std::fs::create_dir(folder.path().join("more")).unwrap();
    for (name, text) in [("a.json", good), ("b.json", "{"), ("more/c.jsonl", good), ("notes.txt", "x")] {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    let (data, report) = open(folder.path());
    assert_eq!((data.len(), report.rejections()), (2, 2));
    assert_eq!((report.counts["broken file"], report.counts["unknown kind of file"]), (1, 1));
    assert!(report.rejected[0].source.ends_with("b.json") && report.rejected[0].reason.starts_with("json: EOF"));
}

#[test]
fn what_is_exported_reads_back_the_same() {
    let Some(path) = shared("balabit/raw") else { return };
    let (data, _) = open(&path);
    let config = Config { max_seq_len: 100, ..Config::default() };
    let prepared = data.prepare(&config, None).unwrap();
    let folder = tempfile::tempdir().unwrap();
    prepared.export(folder.path()).unwrap();
    prepared.export(folder.path()).unwrap();
    let names = std::fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    let names: BTreeSet<String> = names.collect();
    assert_eq!(names.len(), 11, "{names:?}");
    assert!(names.iter().all(|n| !n.ends_with(".tmp")));
    let (back, _) = open(folder.path());
    assert_eq!(back.scaler(), prepared.scaler.as_ref());
    let again = back.prepare(&config, None).unwrap();
    assert_eq!(again.hash, prepared.hash);
    assert_eq!((&again.lengths, again.report.outliers), (&prepared.lengths, 0));
    for (a, b) in
        [(&again.train, &prepared.train), (&again.validation, &prepared.validation), (&again.test, &prepared.test)]
    {
        assert_eq!((a.lengths(), a.conditions()), (b.lengths(), b.conditions()));
        assert!((0..a.len()).all(|i| a.features(i) == b.features(i)));
    }
    // With the limits of another model the features are those of that model.
    let mut wider = prepared.scaler.clone().unwrap();
    (wider.min[0], wider.max[0]) = (2.0 * wider.min[0], 2.0 * wider.max[0]);
    let rescaled = back.prepare(&config, Some(&wider)).unwrap();
    for (a, b) in rescaled.train.features(0).iter().zip(prepared.train.features(0)).step_by(8) {
        assert!((2.0 * a - b).abs() < 1e-6);
    }
}

#[test]
fn nothing_left_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.json");
    std::fs::write(&path, "{\"x\":[0,5,9],\"y\":[0,1,1],\"t\":[0,8,16]}").unwrap();
    let (data, _) = open(&path);
    let message = data.prepare(&Config::default(), None).unwrap_err().to_string();
    assert!(message.contains("1 shorter than quality_min_length"), "{message}");
    let message = data.prepare(&Config { max_seq_len: 2, ..Config::default() }, None).unwrap_err().to_string();
    assert!(message.contains("1 are longer than max_seq_len"), "{message}");
    std::fs::write(&path, "{\"x\":[0,5,2e7],\"y\":[0,1,1],\"t\":[0,8,16]}").unwrap();
    let closed_loop = Config { decoder: trajgan::config::DecoderKind::ClosedLoop, ..Config::default() };
    let message = open(&path).0.prepare(&closed_loop, None).unwrap_err().to_string();
    assert!(message.contains("1 further than 10000000 px") && message.contains("0 beyond quality_z"), "{message}");
    let small = Config { quality_min_length: 3, ..Config::default() };
    assert_eq!(data.prepare(&small, None).unwrap().report.train, 1);
    assert!(Dataset::new(1).prepare(&Config::default(), None).is_err());
}
