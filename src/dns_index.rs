//! Two structures that the cache and the table of queries in flight stand on. Both hold numbers alone:
//! the things themselves lie in a vector of the owner's, and a number is a place in it.
//!
//! - [`Index`] finds a thing by its hash: chains, as in every textbook.
//! - [`Row`] keeps things in the order in which they were put in, and takes any of them out again: a
//!   doubly linked list.
//!
//! Every operation is O(1), whatever the load.

/// No number: the end of a chain.
const NONE: u32 = u32::MAX;

/// Chains of numbers by hash.
pub struct Index {
    /// By the low bits of the hash, the first of a chain plus one: fresh memory is all zeros, and what
    /// is never touched is never resident.
    heads: Vec<u32>,
    /// By number: the high half of its hash, so that others need not be looked at, and the next of its chain.
    links: Vec<(u32, u32)>,
}

impl Index {
    /// For about `count` things; more make the chains longer.
    pub fn new(count: usize) -> Index {
        Index { heads: vec![0; count.next_power_of_two()], links: Vec::new() }
    }

    fn slot(&self, hash: u64) -> usize {
        hash as usize & (self.heads.len() - 1)
    }

    /// The first number that was inserted with this hash (half of it, to be exact) for which `is_it` says yes.
    pub fn find(&self, hash: u64, mut is_it: impl FnMut(u32) -> bool) -> Option<u32> {
        let mut at = self.heads[self.slot(hash)].wrapping_sub(1);
        while at != NONE {
            let (high, next) = self.links[at as usize];
            if high == (hash >> 32) as u32 && is_it(at) {
                return Some(at);
            }
            at = next;
        }
        None
    }

    pub fn insert(&mut self, hash: u64, number: u32) {
        let slot = self.slot(hash);
        let old = std::mem::replace(&mut self.heads[slot], number + 1).wrapping_sub(1);
        if self.links.len() <= number as usize {
            self.links.resize(number as usize + 1, (0, NONE));
        }
        self.links[number as usize] = ((hash >> 32) as u32, old);
    }

    /// `number` must have been inserted with this hash.
    pub fn remove(&mut self, hash: u64, number: u32) {
        let (_, behind) = self.links[number as usize];
        let slot = self.slot(hash);
        let mut at = self.heads[slot].wrapping_sub(1);
        if at == number {
            self.heads[slot] = behind.wrapping_add(1);
        }
        while at != NONE && at != number {
            let (_, next) = self.links[at as usize];
            if next == number {
                self.links[at as usize].1 = behind;
            }
            at = next;
        }
    }
}

/// Numbers from the oldest to the newest.
pub struct Row {
    oldest: u32,
    newest: u32,
    /// By number: its (older, newer) neighbour.
    neighbours: Vec<(u32, u32)>,
}

impl Row {
    pub fn new() -> Row {
        Row { oldest: NONE, newest: NONE, neighbours: Vec::new() }
    }

    pub fn oldest(&self) -> Option<u32> {
        Some(self.oldest).filter(|number| *number != NONE)
    }

    /// Puts a number, which must not be in the row, at the newest end.
    pub fn push(&mut self, number: u32) {
        if self.neighbours.len() <= number as usize {
            self.neighbours.resize(number as usize + 1, (NONE, NONE));
        }
        self.neighbours[number as usize] = (self.newest, NONE);
        match self.newest {
            NONE => self.oldest = number,
            newest => self.neighbours[newest as usize].1 = number,
        }
        self.newest = number;
    }

    /// Takes a number, which must be in the row, out of it.
    pub fn remove(&mut self, number: u32) {
        let (older, newer) = self.neighbours[number as usize];
        match older {
            NONE => self.oldest = newer,
            older => self.neighbours[older as usize].1 = newer,
        }
        match newer {
            NONE => self.newest = older,
            newer => self.neighbours[newer as usize].0 = older,
        }
    }

    /// Gives `to`, which must not be in the row, the place of `from`.
    pub fn rename(&mut self, from: u32, to: u32) {
        let (older, newer) = self.neighbours[from as usize];
        self.neighbours[to as usize] = (older, newer);
        match older {
            NONE => self.oldest = to,
            older => self.neighbours[older as usize].1 = to,
        }
        match newer {
            NONE => self.newest = to,
            newer => self.neighbours[newer as usize].0 = to,
        }
    }

    /// Makes a number of the row the newest.
    pub fn renew(&mut self, number: u32) {
        if self.newest != number {
            self.remove(number);
            self.push(number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn index_finds_what_is_in_it() {
        let mut index = Index::new(4);
        // All in one chain, and one in another.
        for number in 0..5 {
            index.insert(u64::from(number) * 4, number);
        }
        index.insert(1, 5);
        for removed in [2, 4, 0] {
            assert_eq!(index.find(0, |number| number == removed), Some(removed));
            index.remove(0, removed);
            assert_eq!(index.find(0, |number| number == removed), None);
        }
        assert_eq!(index.find(0, |number| number == 1), Some(1));
        assert_eq!(index.find(0, |number| number == 3), Some(3));
        assert_eq!(index.find(0, |number| number == 5), None);
        assert_eq!(index.find(1, |_| true), Some(5));
    }

    #[test]
    fn row_keeps_the_order() {
        let drain = |row: &mut Row| {
            let mut all = Vec::new();
            while let Some(oldest) = row.oldest() {
                row.remove(oldest);
                all.push(oldest);
            }
            all
        };
        let mut row = Row::new();
        assert_eq!(row.oldest(), None);
        for number in [3, 0, 2, 1] {
            row.push(number);
        }
        row.renew(0);
        row.renew(0);
        row.remove(2);
        assert_eq!(drain(&mut row), [3, 1, 0]);
        for number in [4, 5, 6] {
            row.push(number);
        }
        row.rename(4, 0);
        row.rename(6, 1);
        row.rename(5, 2);
        assert_eq!(drain(&mut row), [0, 2, 1]);
        row.push(7);
        row.push(2);
        row.remove(2);
        row.push(5);
        assert_eq!(drain(&mut row), [7, 5]);
    }
}
