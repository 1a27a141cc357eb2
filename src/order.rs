//! Sorting. The standard library's is some kilobytes of code for every type and order, so here is one for all.

use std::cmp::Ordering;

/// Puts numbers in rising order.
pub(crate) fn rise(x: &mut [f64]) {
    x.sort_unstable_by(f64::total_cmp);
}

/// 0..n in an order; of equal ones the smaller comes first.
pub(crate) fn indices(n: usize, compare: &dyn Fn(usize, usize) -> Ordering) -> Vec<usize> {
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_unstable_by(|&a, &b| compare(a, b).then(a.cmp(&b)));
    order
}

/// The items in an order; of equal ones the first stays first.
pub(crate) fn sorted<T: Clone>(x: &[T], compare: impl Fn(&T, &T) -> Ordering) -> Vec<T> {
    let order = indices(x.len(), &|a, b| compare(&x[a], &x[b]));
    order.into_iter().map(|i| x[i].clone()).collect()
}

/// Rows that compare as equal together: groups in rising order; in a group the first stays first.
pub(crate) fn groups(rows: &[usize], compare: &dyn Fn(usize, usize) -> Ordering) -> Vec<Vec<usize>> {
    let rows = sorted(rows, |&a, &b| compare(a, b));
    rows.chunk_by(|&a, &b| compare(a, b).is_eq()).map(<[usize]>::to_vec).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn groups_are_of_equal_ones() {
        let keys = [2, 0, 2, 1, 0];
        let groups = super::groups(&[4, 3, 2, 1, 0], &|a, b| keys[a].cmp(&keys[b]));
        assert_eq!(groups, [vec![4, 1], vec![3], vec![2, 0]]);
    }

    #[test]
    fn equal_ones_stay_in_order() {
        let pairs: Vec<(usize, usize)> = (0..100).map(|i| (i * 7 % 5, i)).collect();
        let sorted = super::sorted(&pairs, |a, b| a.0.cmp(&b.0));
        assert!(sorted.is_sorted() && sorted.len() == 100);
    }
}
