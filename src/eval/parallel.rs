//! A map over 0..n on a few threads. The result does not depend on how many.

use std::panic::resume_unwind;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crate::backend::cpu::{thread_count, worker_thread};

/// f(0), f(1), .. f(n-1), in this order. `threads` 0 means as many as the machine has; a thread that cannot be
/// started is done without. A panic of f is the caller's.
pub fn map<T: Send>(n: usize, threads: usize, f: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let places: Vec<Mutex<Option<T>>> = (0..n).map(|_| Mutex::new(None)).collect();
    run(n, threads, &|i| {
        let value = f(i);
        *places[i].lock().unwrap_or_else(|e| e.into_inner()) = Some(value);
    });
    // Every task has left its value.
    places.into_iter().filter_map(|place| place.into_inner().unwrap_or_else(|e| e.into_inner())).collect()
}

fn run(n: usize, threads: usize, task: &(dyn Fn(usize) + Sync)) {
    let threads = thread_count(threads).min(n);
    if threads < 2 {
        return (0..n).for_each(task);
    }
    let next = AtomicUsize::new(0);
    let work = || loop {
        let i = next.fetch_add(1, Ordering::Relaxed);
        if i >= n {
            return;
        }
        task(i);
    };
    thread::scope(|scope| {
        let start = |k| worker_thread(k).spawn_scoped(scope, work).ok();
        let started: Vec<_> = (1..threads).map_while(start).collect();
        work();
        for thread in started {
            thread.join().unwrap_or_else(|panic| resume_unwind(panic));
        }
    });
}

#[cfg(test)]
mod tests {
    #[test]
    fn order_is_that_of_the_index() {
        for threads in [0, 1, 2, 7] {
            assert_eq!(super::map(33, threads, |i| i * i), (0..33).map(|i| i * i).collect::<Vec<_>>());
        }
        assert!(super::map(0, 4, |i| i).is_empty());
    }

    #[test]
    fn a_panic_is_the_callers() {
        let failing = |i: usize| if i == 9 { std::panic::panic_any("the ninth") } else { i };
        for threads in [1, 4] {
            let panic = std::panic::catch_unwind(|| super::map(33, threads, failing)).unwrap_err();
            assert_eq!(panic.downcast_ref(), Some(&"the ninth"));
        }
    }
}
