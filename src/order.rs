//! Putting lists in order.
//!
//! The standard library's sort is compiled anew for each type, 4 KB a time, for speed that our short lists do not
//! need. Here one copy of it sorts numbers of places, and the list follows. Stable, like the original.

use std::cmp::Ordering;

/// Sorts as `compare` says.
pub fn sort_by<T>(list: &mut Vec<T>, compare: impl Fn(&T, &T) -> Ordering) {
    let mut places: Vec<usize> = (0..list.len()).collect();
    sort_places(&mut places, &|a, b| compare(&list[a], &list[b]));
    let mut old: Vec<Option<T>> = std::mem::take(list).into_iter().map(Some).collect();
    list.extend(places.into_iter().filter_map(|place| old[place].take()));
}

/// Sorts by a key, the smallest first.
pub fn sort_by_key<T, K: Ord>(list: &mut Vec<T>, key: impl Fn(&T) -> K) {
    sort_by(list, |a, b| key(a).cmp(&key(b)));
}

#[inline(never)]
fn sort_places(places: &mut [usize], compare: &dyn Fn(usize, usize) -> Ordering) {
    places.sort_by(|a, b| compare(*a, *b));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sorted_and_stable() {
        let mut list: Vec<(i32, usize)> = [3, 1, 2, 1, 3, 0].into_iter().zip(0..).collect();
        sort_by_key(&mut list, |(number, _)| *number);
        assert_eq!(list, [(0, 5), (1, 1), (1, 3), (2, 2), (3, 0), (3, 4)]);
        sort_by(&mut list, |a, b| b.1.cmp(&a.1));
        assert_eq!(list.first(), Some(&(0, 5)));
    }
}
