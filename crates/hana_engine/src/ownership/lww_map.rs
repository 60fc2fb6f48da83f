use std::collections::BTreeMap;

use hana_protocol::id::Stamp;
use serde::{Deserialize, Serialize};

/// A map replicated on several nodes that may all write to it: per key, the last writer wins.
///
/// The order, the number and the paths of the deliveries do not matter: nodes with the same writes have the same map.
/// A removed key is remembered as removed, so that an older write does not restore it. The map keeps the newest
/// [`capacity`](Self::new) keys, including removed ones, and this selection is the same on all nodes. Pure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LwwMap<K, V> {
    written: BTreeMap<K, LwwEntry<V>>,
    capacity: usize,
}

/// The last write of a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LwwEntry<V> {
    /// The time and the writer.
    pub stamp: Stamp,
    /// The value; `None` if the key was removed.
    #[serde(default = "none", skip_serializing_if = "Option::is_none")]
    pub value: Option<V>,
}

const fn none<V>() -> Option<V> {
    None
}

impl<K: Ord + Clone, V> LwwMap<K, V> {
    /// Creates an empty map for at most `capacity` keys, including removed ones.
    #[must_use]
    pub const fn new(capacity: usize) -> Self {
        Self { written: BTreeMap::new(), capacity }
    }

    /// Applies a local or a remote write; returns whether it changed the map.
    pub fn write(&mut self, key: K, written: LwwEntry<V>) -> bool {
        if self.written.get(&key).is_some_and(|known| known.stamp >= written.stamp) {
            return false;
        }
        let stamp = written.stamp.clone();
        self.written.insert(key, written);
        if self.written.len() > self.capacity {
            let oldest = self.written.iter().min_by(|(_, a), (_, b)| a.stamp.cmp(&b.stamp));
            let oldest = oldest.map(|(key, of)| (key.clone(), of.stamp.clone()));
            if let Some((key, of)) = oldest {
                self.written.remove(&key);
                return of != stamp;
            }
        }
        true
    }

    /// Returns the value of a key.
    #[must_use]
    pub fn get(&self, key: &K) -> Option<&V> {
        self.written.get(key)?.value.as_ref()
    }

    /// Returns the last write of a key, which may be its removal.
    #[must_use]
    pub fn written(&self, key: &K) -> Option<&LwwEntry<V>> {
        self.written.get(key)
    }

    /// Returns all writes, including removals.
    pub fn all_written(&self) -> impl Iterator<Item = (&K, &LwwEntry<V>)> {
        self.written.iter()
    }

    /// Returns the keys that have a value, and their values.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.written.iter().filter_map(|(key, written)| Some((key, written.value.as_ref()?)))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use hana_protocol::id::NodeId;
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    type Map = LwwMap<u8, u32>;
    const CAPACITY: usize = 6;

    fn stamp(ms: u64, by: u8) -> Stamp {
        Stamp { ms, count: 0, by: NodeId::new(&format!("n{by}")).unwrap() }
    }

    /// Generates writes of three nodes for ten keys, all with distinct stamps.
    fn writes() -> impl Strategy<Value = Vec<(u8, LwwEntry<u32>)>> {
        vec((0_u8..10, 0_u8..3, proptest::option::of(0_u32..100)), 0..60).prop_map(|writes| {
            let write = |(place, (key, by, value)): (usize, _)| {
                let ms = u64::try_from(place).unwrap() / 3;
                (key, LwwEntry { stamp: stamp(ms * 3 + u64::from(by), by), value })
            };
            let mut known = std::collections::BTreeSet::new();
            let writes = writes.into_iter().enumerate().map(write);
            writes.filter(|(_, of)| known.insert(of.stamp.clone())).collect()
        })
    }

    fn of(writes: &[(u8, LwwEntry<u32>)]) -> Map {
        let mut map = Map::new(CAPACITY);
        for (key, written) in writes {
            map.write(*key, written.clone());
        }
        map
    }

    fn merge(mut into: Map, from: &Map) -> Map {
        for (key, written) in from.all_written() {
            into.write(*key, written.clone());
        }
        into
    }

    proptest! {
        #![proptest_config(hana_random::cases(256))]

        #[test]
        fn order_and_duplicates_of_writes_do_not_matter(
            writes in writes(),
            order in vec(any::<prop::sample::Index>(), 0..120),
        ) {
            // Some writes arrive twice and out of order, then all of them arrive.
            let mut shuffled: Vec<_> = vec![];
            if !writes.is_empty() {
                shuffled.extend(order.iter().map(|place| place.get(&writes).clone()));
            }
            shuffled.extend(writes.iter().rev().cloned());
            prop_assert_eq!(of(&shuffled), of(&writes));
        }

        #[test]
        fn merge_is_commutative_associative_and_idempotent(a in writes(), b in writes(), c in writes()) {
            // Each of the three sets has its own count in the stamps, so no two writes share a stamp.
            let shift = |writes: Vec<(u8, LwwEntry<u32>)>, by: u64| -> Vec<_> {
                writes.into_iter().map(|(key, mut written)| {
                    written.stamp.count = u32::try_from(by).unwrap();
                    (key, written)
                }).collect()
            };
            let (a, b, c) = (of(&a), of(&shift(b, 1)), of(&shift(c, 2)));
            prop_assert_eq!(merge(a.clone(), &b), merge(b.clone(), &a));
            prop_assert_eq!(
                merge(merge(a.clone(), &b), &c),
                merge(a.clone(), &merge(b, &c))
            );
            prop_assert_eq!(merge(a.clone(), &a), a);
        }

        #[test]
        fn maps_that_exchange_all_entries_converge(
            writes in writes(),
            heard_by in vec(0_u8..8, 60),
            gossip in vec((0_usize..3, 0_usize..3), 0..30),
        ) {
            // Each write reaches some of the three nodes, or only its writer; the nodes then synchronize,
            // rarely at first.
            let mut maps = [(); 3].map(|()| Map::new(CAPACITY));
            for ((key, written), heard_by) in writes.iter().zip(&heard_by) {
                for (place, map) in maps.iter_mut().enumerate() {
                    let wrote = written.stamp.by.as_str() == format!("n{place}");
                    if wrote || heard_by & (1 << place) != 0 {
                        map.write(*key, written.clone());
                    }
                }
            }
            for (from, to) in gossip {
                maps[to] = merge(maps[to].clone(), &maps[from].clone());
            }
            for _ in 0..2 {
                for (from, to) in [(0, 1), (1, 2), (2, 0)] {
                    maps[to] = merge(maps[to].clone(), &maps[from].clone());
                }
            }
            prop_assert_eq!(&maps[0], &maps[1]);
            prop_assert_eq!(&maps[1], &maps[2]);
        }

        #[test]
        fn removed_entry_stays_removed_and_size_is_bounded(writes in writes()) {
            let map = of(&writes);
            prop_assert!(map.all_written().count() <= CAPACITY);
            for (key, value) in map.iter() {
                let last = writes.iter().filter(|(of, _)| of == key).max_by_key(|(_, of)| &of.stamp);
                prop_assert_eq!(last.unwrap().1.value, Some(*value));
            }
        }
    }
}
