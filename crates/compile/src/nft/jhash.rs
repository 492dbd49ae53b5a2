//! The kernel's jhash (include/linux/jhash.h, after Bob Jenkins' lookup3) and its scaling to a range.

/// The hash of `bytes`, as `jhash(bytes, len, seed)` gives it.
pub(super) fn jhash(bytes: &[u8], seed: u32) -> u32 {
    let start = 0xdead_beef_u32.wrapping_add(bytes.len() as u32).wrapping_add(seed);
    let mut state = [start; 3];
    // The last part has 1 to 12 bytes; an empty input has none.
    let whole = bytes.len().saturating_sub(1) / 12 * 12;
    let (whole, rest) = bytes.split_at(whole);
    for block in whole.chunks_exact(12) {
        add(&mut state, block, u32::from_ne_bytes);
        mix(&mut state);
    }
    if !rest.is_empty() {
        // The kernel adds the last part byte by byte, the first one lowest, whatever the machine's order.
        add(&mut state, rest, u32::from_le_bytes);
        finish(&mut state);
    }
    state[2]
}

/// `hash` scaled to 0..modulus: `reciprocal_scale` of linux/kernel.h.
pub(super) fn scale(hash: u32, modulus: u32) -> u32 {
    ((u64::from(hash) * u64::from(modulus)) >> 32) as u32
}

fn add(state: &mut [u32; 3], block: &[u8], word: fn([u8; 4]) -> u32) {
    for (sum, part) in state.iter_mut().zip(block.chunks(4)) {
        let mut four = [0; 4];
        four[..part.len()].copy_from_slice(part);
        *sum = sum.wrapping_add(word(four));
    }
}

fn mix(state: &mut [u32; 3]) {
    let [mut a, mut b, mut c] = *state;
    for (round, shift) in [4, 6, 8, 16, 19, 4].into_iter().enumerate() {
        let (x, y, z) = match round % 3 {
            0 => (&mut a, &mut c, &mut b),
            1 => (&mut b, &mut a, &mut c),
            _ => (&mut c, &mut b, &mut a),
        };
        *x = x.wrapping_sub(*y) ^ y.rotate_left(shift);
        *y = y.wrapping_add(*z);
    }
    *state = [a, b, c];
}

fn finish(state: &mut [u32; 3]) {
    let [mut a, mut b, mut c] = *state;
    for (round, shift) in [14, 11, 25, 16, 4, 14, 24].into_iter().enumerate() {
        let (x, y) = match round % 3 {
            0 => (&mut c, b),
            1 => (&mut a, c),
            _ => (&mut b, a),
        };
        *x = (*x ^ y).wrapping_sub(y.rotate_left(shift));
    }
    *state = [a, b, c];
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_those_of_lookup3() {
        // Vectors of lookup3.c's driver5 for hashlittle: "Four score and seven years ago" with seeds 0 and 1, and
        // nothing at all; jhash is hashlittle on machines of that order.
        let text = b"Four score and seven years ago";
        assert_eq!(jhash(text, 0), 0x1777_0551);
        assert_eq!(jhash(text, 1), 0xcd62_8161);
        assert_eq!(jhash(b"", 0), 0xdead_beef);
        assert_eq!((scale(0, 7), scale(u32::MAX, 7), scale(1 << 31, 1024)), (0, 6, 512));
    }
}
