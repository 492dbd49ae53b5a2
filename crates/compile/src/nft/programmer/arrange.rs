//! Endpoints of a set with their weights, and how the set was arranged: which slot names which endpoint from now on.

use std::collections::{BTreeMap, BTreeSet};

use super::Programmer;
use crate::balance::Algorithm;
use crate::nft::balance::ring::{class, ring};
use crate::nft::balance::shares::shares;
use crate::nft::balance::table::table;
use crate::nft::held::{Chosen, Way};
use crate::nft::rules::balance::LANES;
use crate::service_table::Backend;

/// An endpoint of a set.
#[derive(Clone, Copy, Debug)]
pub(super) struct Member {
    pub(super) number: u16,
    pub(super) backend: Backend,
    /// Its share of new connections is in proportion.
    pub(super) weight: u32,
}

/// Which rings are in use, by class: each has a rule that counts for it alone.
#[derive(Clone, Debug, Default)]
pub(super) struct Lanes {
    used: BTreeSet<(u8, u8)>,
}

impl Lanes {
    /// Takes a certain lane; false if it is used already.
    pub(super) fn claim(&mut self, class: u8, lane: u8) -> bool {
        self.used.insert((class, lane))
    }

    /// Gives a lane back.
    pub(super) fn free(&mut self, class: u8, lane: u8) {
        self.used.remove(&(class, lane));
    }

    fn take(&mut self, class: u8) -> Option<u8> {
        let lanes = LANES.get(usize::from(class)).copied().unwrap_or(0);
        (0..lanes).find(|lane| self.used.insert((class, *lane)))
    }
}

impl Programmer {
    /// The new arrangement of a set; few slots change where the algorithm allows.
    pub(super) fn arrange(&mut self, old: Chosen, members: &[Member], algorithm: Algorithm) -> Chosen {
        let all_equal = members.windows(2).all(|two| two[0].weight == two[1].weight);
        if algorithm == Algorithm::Random && all_equal {
            self.give_up(&old);
            return Chosen::random(reorder(&old, members.iter().map(|member| (member.number, 1)).collect()));
        }
        let weights: Vec<u32> = members.iter().map(|member| member.weight).collect();
        let counts = shares(&weights);
        let wanted: Vec<(u16, u32)> = members
            .iter()
            .zip(counts)
            .filter(|(_, count)| *count > 0)
            .map(|(one, count)| (one.number, count))
            .collect();
        if wanted.len() > 1 {
            match algorithm {
                Algorithm::RoundRobin => {
                    if let Some(chosen) = self.in_turn(&old, &wanted) {
                        return chosen;
                    }
                }
                Algorithm::ConsistentHash(on) => {
                    self.give_up(&old);
                    let weighted: Vec<(Backend, u32)> =
                        members.iter().map(|member| (member.backend, member.weight)).collect();
                    let name = |index: u16| members.get(usize::from(index)).map_or(0, |member| member.number);
                    return Chosen { order: table(&weighted).into_iter().map(name).collect(), way: Way::Table(on) };
                }
                Algorithm::Random => {}
            }
        }
        self.give_up(&old);
        Chosen::random(reorder(&old, wanted.into_iter().collect()))
    }

    /// A ring with a lane of its own; none if all lanes of its size are taken.
    fn in_turn(&mut self, old: &Chosen, wanted: &[(u16, u32)]) -> Option<Chosen> {
        let class = class(wanted.iter().map(|(_, count)| *count as usize).sum());
        let (before, lane) = match old.way {
            Way::Ring { class: own, lane } if own == class => (&old.order[..], lane),
            _ => {
                let lane = self.lanes.take(class)?;
                self.give_up(old);
                (&[][..], lane)
            }
        };
        Some(Chosen { order: ring(before, wanted), way: Way::Ring { class, lane } })
    }

    /// An arrangement that is no more: its lane is free.
    pub(super) fn give_up(&mut self, old: &Chosen) {
        if let Way::Ring { class, lane } = old.way {
            self.lanes.free(class, lane);
        }
    }
}

/// The old order with as few changes as possible: newcomers take the places of those who left, then places at the end
/// move into what is still empty.
fn reorder(old: &Chosen, mut wanted: BTreeMap<u16, u32>) -> Vec<u16> {
    let mut order = if old.way == Way::Random { old.order.clone() } else { Vec::new() };
    let stays: Vec<bool> = order.iter().map(|number| take_one(&mut wanted, *number)).collect();
    let mut newcomers = wanted.into_iter().flat_map(|(number, count)| std::iter::repeat_n(number, count as usize));
    let mut empty = Vec::new();
    for (slot, stays) in stays.into_iter().enumerate() {
        if stays {
            continue;
        }
        match newcomers.next() {
            Some(newcomer) => order[slot] = newcomer,
            None => empty.push(slot),
        }
    }
    for slot in empty.into_iter().rev() {
        order.swap_remove(slot);
    }
    order.extend(newcomers);
    order
}

fn take_one(wanted: &mut BTreeMap<u16, u32>, number: u16) -> bool {
    match wanted.get_mut(&number) {
        Some(1) => wanted.remove(&number).is_some(),
        Some(count) => {
            *count -= 1;
            true
        }
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_slots_change() {
        let set = |numbers: &[u16]| numbers.iter().map(|number| (*number, 1)).collect::<BTreeMap<u16, u32>>();
        let old = |order: &[u16]| Chosen::random(order.to_vec());
        assert_eq!(reorder(&old(&[1, 2, 3, 4]), set(&[1, 3, 4])), [1, 4, 3]);
        assert_eq!(reorder(&old(&[1, 2, 3]), set(&[1, 3, 9])), [1, 9, 3]);
        assert_eq!(reorder(&old(&[1, 2, 3]), set(&[])), [0_u16; 0]);
        assert_eq!(reorder(&old(&[]), set(&[5, 6])), [5, 6]);
        assert_eq!(reorder(&old(&[1, 2, 3, 4]), set(&[4])), [4]);
        assert_eq!(reorder(&old(&[1, 2, 1]), [(1, 1), (2, 3)].into()), [1, 2, 2, 2], "weights");
    }
}
