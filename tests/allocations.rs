//! A stream makes points without asking for memory, and neither it nor a path copies the model.

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use common::{dataset, tiny, tiny_closed_loop, trained};
use trajgan::{Config, PathOptions};

thread_local! {
    static CALLS: Cell<usize> = const { Cell::new(0) };
    static BYTES: Cell<usize> = const { Cell::new(0) };
}

/// Counts what each thread asks for, and passes it on.
struct Counting;

// Safety: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        CALLS.set(CALLS.get() + 1);
        BYTES.set(BYTES.get() + layout.size());
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        CALLS.set(CALLS.get() + 1);
        BYTES.set(BYTES.get() + size);
        unsafe { System.realloc(block, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Points after which every buffer has its size.
const FIRST: usize = 1;

#[test]
fn a_stream_allocates_nothing_after_its_first_points() {
    let counted = CALLS.get();
    drop(std::hint::black_box(vec![1u8; 100]));
    assert!(CALLS.get() > counted, "the allocator counts");

    for config in [tiny(), tiny_closed_loop()] {
        let model = trained(&config, &dataset(60, 3), 2);
        let mut longest = 0;
        for first in 0..20 {
            for integer_pixels in [true, false] {
                let options = PathOptions { seed: 4, first, integer_pixels, ..PathOptions::default() };
                let mut stream = model.stream([10.0, 20.0], [310.0 + first as f64, 250.0], &options).unwrap();
                (0..FIRST).for_each(|_| assert!(stream.next_point().is_some()));
                let before = CALLS.get();
                let count = std::iter::from_fn(|| stream.next_point()).count();
                assert_eq!(CALLS.get() - before, 0, "{}, path {first}, {count} points", config.decoder.name());
                longest = longest.max(count);
            }
        }
        assert!(longest > 10, "{}: {longest} points tell nothing", config.decoder.name());
    }
}

/// A walk that follows a moving target lasts longer than any movement that the model has learnt.
#[test]
fn chasing_a_target_allocates_nothing() {
    let config = tiny_closed_loop();
    let model = trained(&config, &dataset(60, 3), 2);
    let mut stream = model.stream([0.0, 0.0], [200.0, 0.0], &PathOptions::default()).unwrap();
    (0..FIRST).for_each(|_| assert!(stream.next_point().is_some()));
    // The first new end looks ahead, see Stream::aim.
    stream.aim([200.0, 1.0]).unwrap();
    let before = CALLS.get();
    for k in 0..5 * config.max_seq_len {
        stream.aim([200.0 + k as f64, 3.0 * k as f64]).unwrap();
        assert!(stream.next_point().is_some(), "point {k}: the target moves on");
    }
    let rest = std::iter::from_fn(|| stream.next_point()).last();
    assert_eq!(CALLS.get() - before, 0);
    let k = (5 * config.max_seq_len - 1) as f64;
    assert_eq!(rest.map(|p| [p.x, p.y]), Some([200.0 + k, 3.0 * k]));
}

/// What the model is asked for again and again must not copy its weights or work them over: one layer of the critic has
/// more numbers than a path needs memory.
#[test]
fn paths_and_streams_copy_no_weights() {
    for config in [tiny(), tiny_closed_loop()] {
        let config = Config { discriminator_hidden_dims: vec![600, 600], candidates: 4, ..config };
        let model = trained(&config, &dataset(400, 3), 2);
        let layer = 600 * 600 * size_of::<f32>();
        let (from, to) = ([10.0, 20.0], [310.0, 250.0]);
        for candidates in [1, 4] {
            let options = PathOptions { seed: 4, candidates, ..PathOptions::default() };
            let case = format!("{}, {candidates} candidates", config.decoder.name());
            model.path(from, to, &options).unwrap();
            model.stream(from, to, &options).unwrap();
            let before = BYTES.get();
            model.path(from, to, &options).unwrap();
            let path = BYTES.get() - before;
            model.stream(from, to, &options).unwrap();
            let stream = BYTES.get() - before - path;
            assert!(path < layer / 4, "{case}: a path takes {path} bytes");
            assert!(stream < layer / 4, "{case}: a stream takes {stream} bytes");
        }
    }
}
