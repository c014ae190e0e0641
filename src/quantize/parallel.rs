//! Independent pieces of work on some threads.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// What `work` makes of each, in their order, so many at a time; `done` is told how many there are already.
pub fn each<T: Sync, R: Send>(
    all: &[T],
    threads: usize,
    done: &(dyn Fn(usize) + Sync),
    work: impl Fn(&T) -> R + Sync,
) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let made: Mutex<Vec<Option<R>>> = Mutex::new(all.iter().map(|_| None).collect());
    let n_done = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..threads.clamp(1, all.len().max(1)) {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Relaxed);
                    let Some(one) = all.get(at) else { break };
                    let result = work(one);
                    made.lock().expect("nobody panics while holding it")[at] = Some(result);
                    done(n_done.fetch_add(1, Relaxed) + 1);
                }
            });
        }
    });
    let made = made.into_inner().expect("all threads have ended");
    made.into_iter().map(|one| one.expect("each was taken by one thread")).collect()
}

#[cfg(test)]
#[test]
fn results_stand_in_the_order_of_what_they_are_of() {
    let all: Vec<u64> = (0..100).collect();
    let told = Mutex::new(Vec::new());
    let squares = each(&all, 7, &|n| told.lock().unwrap().push(n), |n| n * n);
    assert_eq!(squares, all.iter().map(|n| n * n).collect::<Vec<_>>());
    let mut told = told.into_inner().unwrap();
    told.sort_unstable();
    assert_eq!(told, (1..=100).collect::<Vec<_>>());
    assert!(each(&[] as &[u8], 3, &|_| (), |n| *n).is_empty());
}
