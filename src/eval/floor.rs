//! The floor: what real against real scores. Halves of the recordings, by session where sessions are known.

use super::steps;
use crate::data::Movement;
use crate::order;
use crate::rng::{Rng, Stream};

/// Indices into `movements`, two halves of one size. Both have the same users with equal shares. Within a user whole
/// sessions go to one half, the lighter one, in random order. A user of one session, of none known, or of one with
/// more than three quarters of the movements is split by movement. Users of one movement are dealt, as if they were one user.
pub fn halves(movements: &[&Movement], seed: u64, round: u64) -> (Vec<usize>, Vec<usize>) {
    let mut rng = Rng::new(seed, Stream::Evaluation, steps::SPLIT + round);
    let (user, session) = (|i: usize| &movements[i].user, |i: usize| &movements[i].session);
    let everyone: Vec<usize> = (0..movements.len()).collect();
    let users = order::groups(&everyone, &|a, b| user(a).cmp(user(b)));
    let (mut left, mut right) = (Vec::new(), Vec::new());
    let (alone, users): (Vec<_>, Vec<_>) = users.into_iter().partition(|rows| rows.len() == 1);
    let sessions = |rows: Vec<usize>| {
        let known = rows.iter().all(|&i| session(i).is_some());
        (known, order::groups(&rows, &|a, b| session(a).cmp(session(b))))
    };
    for (known, parts) in users.into_iter().map(sessions).chain([(false, vec![alone.concat()])]) {
        let all = parts.concat();
        let (mut a, mut b) = deal(parts, &mut rng);
        if !known || a.len().min(b.len()) * 4 < all.len() {
            (a, b) = deal(all.into_iter().map(|i| vec![i]).collect(), &mut rng);
        }
        let size = a.len().min(b.len());
        left.extend(pick(a, size, &mut rng));
        right.extend(pick(b, size, &mut rng));
    }
    (left, right)
}

/// Each part, in random order, to the side that has less.
fn deal(mut parts: Vec<Vec<usize>>, rng: &mut Rng) -> (Vec<usize>, Vec<usize>) {
    rng.shuffle(&mut parts);
    let (mut a, mut b) = (Vec::new(), Vec::new());
    for part in parts {
        if a.len() <= b.len() { a.extend(part) } else { b.extend(part) }
    }
    (a, b)
}

/// `count` of the items, drawn at random without replacement; all of them, in random order, if there are not more.
pub fn pick<T>(mut items: Vec<T>, count: usize, rng: &mut Rng) -> Vec<T> {
    rng.shuffle(&mut items);
    items.truncate(count);
    items
}

#[cfg(test)]
mod tests {
    use super::*;

    fn movement(user: &str, session: Option<&str>) -> Movement {
        Movement { user: Some(user.into()), session: session.map(Into::into), ..Movement::default() }
    }

    #[test]
    fn sessions_stay_whole_and_users_are_shared_evenly() {
        let mut all = Vec::new();
        for (user, session, count) in [("a", "1", 30), ("a", "2", 20), ("a", "3", 12), ("b", "1", 10), ("b", "2", 9)] {
            all.extend((0..count).map(|_| movement(user, Some(session))));
        }
        let all: Vec<&Movement> = all.iter().collect();
        for round in 0..5 {
            let (left, right) = halves(&all, 1, round);
            let of =
                |side: &[usize], user: &str| side.iter().filter(|&&i| all[i].user.as_deref() == Some(user)).count();
            let sessions = |side: &[usize]| side.iter().map(|&i| (&all[i].user, &all[i].session)).collect::<Vec<_>>();
            assert_eq!((of(&left, "a"), of(&left, "b")), (of(&right, "a"), of(&right, "b")));
            assert!(sessions(&left).iter().all(|s| !sessions(&right).contains(s)));
            assert!(of(&left, "b") == 9 && of(&left, "a") >= 12);
        }
    }

    #[test]
    fn users_of_one_movement_are_dealt() {
        let mut all: Vec<Movement> = (0..41).map(|i| movement(&i.to_string(), None)).collect();
        all.extend((0..5).map(|_| movement("often", None)));
        let (left, right) = halves(&all.iter().collect::<Vec<_>>(), 1, 0);
        assert_eq!((left.len(), right.len()), (22, 22));
        assert!(left.iter().all(|i| !right.contains(i)));
    }

    #[test]
    fn one_long_session_is_split() {
        let mut all: Vec<Movement> = (0..100).map(|_| movement("a", Some("1"))).collect();
        all.push(movement("a", Some("2")));
        let (left, right) = halves(&all.iter().collect::<Vec<_>>(), 1, 0);
        assert_eq!((left.len(), right.len()), (50, 50));
    }

    #[test]
    fn without_sessions_movements_are_dealt() {
        let all: Vec<Movement> = (0..41).map(|_| movement("a", None)).collect();
        let (left, right) = halves(&all.iter().collect::<Vec<_>>(), 1, 0);
        assert_eq!((left.len(), right.len()), (20, 20));
        assert!(left.iter().all(|i| !right.contains(i)));
    }

    #[test]
    fn every_round_has_halves_of_its_own() {
        let all: Vec<Movement> = (0..40).map(|_| movement("a", None)).collect();
        let half = |round| {
            let mut left = halves(&all.iter().collect::<Vec<_>>(), 1, round).0;
            left.sort_unstable();
            left
        };
        assert!(half(0) == half(0) && half(0) != half(1) && half(1) != half(2));
    }
}
