//! A few threads that belong to one call: started with it, joined on drop. Never a global pool.
//!
//! Which thread does which task is left to chance; results must not depend on it, so tasks write to
//! places of their own and whoever adds them up does so in task order.

use std::num::NonZeroUsize;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

/// (worker, task): worker is below `Pool::threads()`, and no two calls at one time share it.
type Job<'a> = dyn Fn(usize, usize) + Sync + 'a;

pub struct Pool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    work: Condvar,
    done: Condvar,
    /// Calls of [`Pool::run`] so far, and tasks at work. They change under the lock; those who wait look without it.
    runs: AtomicU64,
    running: AtomicUsize,
}

#[derive(Default)]
struct State {
    job: Option<&'static Job<'static>>,
    /// Tasks that nobody has begun: each worker's share of them.
    left: Vec<Range<usize>>,
    panic: Option<Box<dyn std::any::Any + Send>>,
    closing: bool,
}

impl State {
    /// A task of the worker's own share, which is the same in every run with as many tasks: what it worked on before is then
    /// still in its core's cache. After those, the last one of whoever has most left.
    fn take(&mut self, worker: usize) -> Option<usize> {
        self.left[worker].next().or_else(|| self.left.iter_mut().max_by_key(|left| left.len())?.next_back())
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Jobs run outside the lock, so a poisoned state is whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes tasks until none is left. Returns with the lock.
    fn work<'a>(&'a self, worker: usize, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        while let Some(job) = state.job {
            let Some(task) = state.take(worker) else { break };
            self.running.fetch_add(1, Ordering::AcqRel);
            drop(state);
            let outcome = catch_unwind(AssertUnwindSafe(|| job(worker, task)));
            state = self.lock();
            self.running.fetch_sub(1, Ordering::AcqRel);
            if let Err(panic) = outcome {
                match &state.panic {
                    None => state.panic = Some(panic),
                    Some(_) => std::mem::forget(panic), // dropping it might panic, too
                }
                state.left.fill(0..0); // no new tasks after a panic
            }
        }
        state
    }
}

/// Waits a little, awake: steps are short, and a sleeping thread takes longer to wake than many a task lasts.
fn look(done: impl Fn() -> bool) {
    const LOOKS: usize = 2000; // about 0.1 ms
    for _ in 0..LOOKS {
        if done() {
            return;
        }
        std::hint::spin_loop();
    }
}

/// The C layer keeps threads of this name quiet. Without a size of the stack the standard library would read the environment.
pub fn worker_thread(number: usize) -> std::thread::Builder {
    std::thread::Builder::new().name(format!("trajgan-{number}")).stack_size(2 << 20)
}

impl Pool {
    /// threads: 0 for one per core. The caller's thread is one of them. If the system refuses threads,
    /// there are fewer: results are the same.
    pub fn new(threads: usize) -> Pool {
        let wanted = thread_count(threads);
        let shared = Arc::new(Shared::default());
        let start = |worker| {
            let shared = Arc::clone(&shared);
            worker_thread(worker).spawn(move || serve(&shared, worker)).ok()
        };
        let workers = (1..wanted).map_while(start).collect();
        Pool { shared, workers }
    }

    /// How many tasks can run at one time.
    pub fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// Runs job(worker, task) for every task below `tasks` and returns when all are done. One run at a
    /// time: it takes the pool exclusively. A panic in a task comes out here.
    pub fn run(&mut self, tasks: usize, job: impl Fn(usize, usize) + Sync) {
        if self.workers.is_empty() || tasks == 1 {
            return (0..tasks).for_each(|task| job(0, task));
        }
        let job: &Job<'_> = &job;
        // SAFETY: the reference is taken back below, before this function returns: workers use it only
        // while `running` counts them, and nobody unwinds out of here before that is 0.
        let job: &'static Job<'static> = unsafe { std::mem::transmute(job) };
        let mut state = self.shared.lock();
        let threads = self.workers.len() + 1;
        state.job = Some(job);
        state.left.clear();
        state.left.extend((0..threads).map(|worker| worker * tasks / threads..(worker + 1) * tasks / threads));
        self.shared.runs.fetch_add(1, Ordering::AcqRel);
        self.shared.work.notify_all();
        drop(self.shared.work(0, state));
        look(|| self.shared.running.load(Ordering::Acquire) == 0);
        state = self.shared.lock();
        while self.shared.running.load(Ordering::Acquire) > 0 {
            state = self.shared.done.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.job = None;
        if let Some(panic) = state.panic.take() {
            drop(state);
            resume_unwind(panic);
        }
    }

    /// Runs job(worker, task, item) on every item, each alone; worker as in [`Pool::run`].
    pub fn for_each<T: Send>(&mut self, items: &mut [T], job: impl Fn(usize, usize, &mut T) + Sync) {
        let items: Vec<Mutex<&mut T>> = items.iter_mut().map(Mutex::new).collect();
        self.run(items.len(), |worker, task| {
            let mut item = items[task].lock().unwrap_or_else(PoisonError::into_inner);
            job(worker, task, &mut item);
        });
    }
}

/// Room to work in, a piece for each worker. A task finds what an earlier one left there, and writes over it before it reads:
/// large buffers are neither allocated nor filled for each task.
#[derive(Debug)]
pub struct Scratch<T>(Vec<Mutex<T>>);

impl<T> Default for Scratch<T> {
    fn default() -> Self {
        Scratch(Vec::new())
    }
}

impl<T: Default> Scratch<T> {
    pub fn new(pool: &Pool) -> Scratch<T> {
        let mut scratch = Scratch::default();
        scratch.fit(pool);
        scratch
    }

    /// As many pieces as the pool has workers.
    pub fn fit(&mut self, pool: &Pool) {
        self.0.resize_with(pool.threads(), Mutex::default);
    }

    /// The worker's piece, which nobody else has meanwhile.
    pub fn of(&self, worker: usize) -> MutexGuard<'_, T> {
        // A task that panicked may have left anything, as one that did not.
        self.0[worker].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub const MOST_THREADS: usize = 1024;

/// How many threads a setting asks for, at most 1024. 0: one per core.
pub fn thread_count(threads: usize) -> usize {
    match threads {
        0 => std::thread::available_parallelism().map_or(1, NonZeroUsize::get),
        n => n,
    }
    .min(MOST_THREADS)
}

fn serve(shared: &Shared, worker: usize) {
    super::set_float_state();
    let mut state = shared.lock();
    while !state.closing {
        state = shared.work(worker, state);
        if shared.running.load(Ordering::Acquire) == 0 {
            shared.done.notify_all();
        }
        let runs = || shared.runs.load(Ordering::Acquire);
        let seen = runs();
        drop(state);
        look(|| runs() != seen);
        state = shared.lock();
        while runs() == seen && !state.closing {
            state = shared.work.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.lock().closing = true;
        self.shared.work.notify_all();
        for worker in self.workers.drain(..) {
            let _ = worker.join(); // a worker's panic was handed to run()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn every_task_runs_once() {
        for threads in [1, 2, 3, 8] {
            let mut pool = Pool::new(threads);
            for tasks in [0, 1, 7, 100] {
                let mut items = vec![0; tasks];
                pool.for_each(&mut items, |worker, task, item| {
                    assert!(worker < threads);
                    *item += task + 1;
                });
                assert_eq!(items, (1..=tasks).collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn a_panic_comes_out_and_the_pool_lives_on() {
        let mut pool = Pool::new(3);
        let outcome = catch_unwind(AssertUnwindSafe(|| pool.run(50, |_, task| assert!(task != 20))));
        assert!(outcome.is_err());
        let count = AtomicUsize::new(0);
        pool.run(50, |_, _| {
            count.fetch_add(1, Ordering::Relaxed);
        });
        assert_eq!(count.into_inner(), 50);
    }
}
