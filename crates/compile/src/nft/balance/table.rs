//! Endpoints with weights -> the table that a hash points into: a function of nothing else, so that all nodes agree.
//!
//! Every slot has a cost at every endpoint (-log of a hash of both, divided by the weight: rendezvous hashing), and
//! pairs go together from the cheapest on, as long as the endpoint has room. Room is the share and a little more: with
//! less, slots would be pushed around whenever anything changes; with more, endpoints would differ as chance has it.

use std::collections::BinaryHeap;

use crate::nft::rules::balance::TABLE;
use crate::service_table::Backend;

/// For each slot the index of its endpoint. Endpoints of weight 0 get none, unless all have weight 0.
pub(in crate::nft) fn table(endpoints: &[(Backend, u32)]) -> Vec<u16> {
    let none = endpoints.iter().all(|(_, weight)| *weight == 0);
    let weights: Vec<u64> = endpoints.iter().map(|(_, weight)| if none { 1 } else { u64::from(*weight) }).collect();
    let keys: Vec<u64> = endpoints.iter().map(|(backend, _)| key(*backend)).collect();
    let total: u64 = weights.iter().sum();
    let rooms: Vec<usize> = weights.iter().map(|weight| room(*weight, total)).collect();
    let mut slots = vec![0; TABLE as usize];
    let mut held: Vec<BinaryHeap<(u64, u16)>> = vec![BinaryHeap::new(); endpoints.len()];
    for slot in 0..TABLE as u16 {
        // What finds no room any more is pushed on to its next choice, which may push out another one.
        let (mut pushed, mut after) = (slot, None);
        while let Some((cost, endpoint)) = next(pushed, &keys, &weights, after) {
            slots[usize::from(pushed)] = endpoint;
            let own = &mut held[usize::from(endpoint)];
            own.push((cost, pushed));
            if own.len() <= rooms[usize::from(endpoint)] {
                break;
            }
            let Some((cost, out)) = own.pop() else { break };
            (pushed, after) = (out, Some((cost, endpoint)));
        }
    }
    slots
}

/// The cheapest endpoint of a slot after `after` (cost, index).
fn next(slot: u16, keys: &[u64], weights: &[u64], after: Option<(u64, u16)>) -> Option<(u64, u16)> {
    let place = mix(u64::from(slot) + 1);
    let all = keys.iter().zip(weights).zip(0..).filter(|((_, weight), _)| **weight > 0);
    let costs = all.map(|((key, weight), index)| ((minus_log(mix(key ^ place)) << 20) / weight, index));
    costs.filter(|own| after.is_none_or(|after| *own > after)).min()
}

/// How many slots an endpoint may have: its share and a twentieth, or the square root of the share if that is more.
fn room(weight: u64, total: u64) -> usize {
    let slots = u64::from(TABLE) * weight;
    let total = total.max(1);
    let share = slots.div_ceil(total);
    (share + share.div_ceil(20).max(share.isqrt())) as usize
}

fn key(backend: Backend) -> u64 {
    let (high, low) = match backend.address {
        std::net::IpAddr::V4(address) => (4, u64::from(u32::from(address))),
        std::net::IpAddr::V6(address) => ((u128::from(address) >> 64) as u64, u128::from(address) as u64),
    };
    mix(mix(mix(high) ^ low) ^ u64::from(backend.port))
}

/// The output function of splitmix64.
fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// log2(1 + i / 256) in 2^-32, for i up to 256: integers only, because every node must get the same.
const LOGS: [u64; 257] = logs();

const fn logs() -> [u64; 257] {
    let mut logs = [1 << 32; 257];
    let mut index = 0;
    while index < 256 {
        // Squaring doubles the logarithm: each time it reaches 1, the next binary digit is one. 1.0 is 2^62.
        let mut x = (256 + index as u128) << 54;
        let (mut digits, mut digit) = (0, 0);
        while digit < 32 {
            x = (x * x) >> 62;
            digits <<= 1;
            if x >= 1 << 63 {
                x >>= 1;
                digits |= 1;
            }
            digit += 1;
        }
        logs[index] = digits;
        index += 1;
    }
    logs
}

/// -log2(hash / 2^64) in 2^-32, at most 64 of them.
fn minus_log(hash: u64) -> u64 {
    let zeros = u64::from(hash.leading_zeros().min(63));
    let mantissa = hash << zeros;
    let index = (mantissa >> 55 & 0xff) as usize;
    let rest = mantissa >> 23 & 0xffff_ffff;
    let (low, high) = (LOGS[index], LOGS[index + 1]);
    ((zeros + 1) << 32) - (low + (((high - low) * rest) >> 32))
}

#[cfg(test)]
mod tests;
