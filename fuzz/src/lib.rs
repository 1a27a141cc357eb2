//! What the targets share: the bytes of the fuzzer as a file, which is what the readers take.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use trajgan::data::{Dataset, ReadOptions};

/// A folder of this process, in memory where the system has such a place.
pub fn folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let memory = Path::new("/dev/shm");
        let parent = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        let path = parent.join(format!("trajgan-fuzz-{}", std::process::id()));
        fs::create_dir_all(&path).expect("a folder for the input");
        path
    })
}

pub fn put(name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder().join(name);
    fs::write(&path, bytes).expect("the input is written");
    path
}

/// Opens recordings as a program would. What is read must be usable: every number finite, times rising.
pub fn open(path: &Path) {
    let options = ReadOptions { max_bytes: 1 << 20, ..ReadOptions::default() };
    let Ok((data, report)) = Dataset::open(path, &options) else { return };
    assert_eq!(data.len(), report.read);
    for movement in data.movements() {
        let points = &movement.points;
        assert!(points.len() >= 3 && points.windows(2).all(|p| p[0].t_ms < p[1].t_ms));
        assert!(points.iter().all(|p| p.x.is_finite() && p.y.is_finite() && p.t_ms.is_finite()));
    }
}
