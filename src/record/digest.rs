//! MD5 of several messages side by side.
//!
//! A step of MD5 needs the result of the step before, so one message leaves most of a processor idle; messages beside
//! one another, in the lanes of vectors, take four times fewer cycles a byte. Every processor of the supported kinds
//! has vectors of four numbers; `wide` gives them without `unsafe`.
//!
//! Source: RFC 1321. The tests compare with the crate `md-5`, which does messages that come alone.

use std::array::from_fn;
use std::iter::zip;

use md5::{Digest as _, Md5};
use wide::u32x4;

/// Messages side by side: two vectors of four, because one alone still waits for itself.
pub(super) const LANES: usize = VECTORS * WIDTH;
const VECTORS: usize = 2;
const WIDTH: usize = 4;

/// An MD5.
pub(super) type Digest = [u8; 16];

type Block = [u8; 64];
type Vector = [u32x4; VECTORS];
/// One number of the state or of a block, of each lane.
type Numbers = [u32; LANES];

const START: [u32; 4] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];
/// Bytes of a block's end that say how long the message is.
const LENGTH: usize = 8;

/// The MD5 of each message, in their order.
pub(super) fn digests(messages: &[&[u8]]) -> Vec<Digest> {
    if let [message] = messages {
        return vec![Md5::digest(message).into()];
    }
    let padded: Vec<Padded<'_>> = messages.iter().map(|message| Padded::new(message)).collect();
    let mut digests = vec![Digest::default(); messages.len()];
    let mut waiting = zip(&padded, &mut digests);
    let mut lanes: [Option<Lane<'_>>; LANES] = from_fn(|_| None);
    let mut state = [[0; LANES]; 4];
    loop {
        for (index, place) in lanes.iter_mut().enumerate() {
            if let Some(lane) = place.take_if(|lane| lane.is_done()) {
                *lane.digest = digest_of(state.map(|numbers| numbers[index]));
            }
            if place.is_none()
                && let Some((message, digest)) = waiting.next()
            {
                *place = Some(Lane { blocks: message.whole, last: message.last(), digest });
                zip(&mut state, START).for_each(|(numbers, start)| numbers[index] = start);
            }
        }
        let Some(count) = lanes.iter().flatten().map(|lane| lane.next().len()).min() else { return digests };
        // a lane without a message gets the blocks of one that has, and nobody asks for what comes out
        let any = lanes.iter().flatten().next().map_or([].as_slice(), Lane::next);
        digest_blocks(&mut state, lanes.each_ref().map(|lane| &lane.as_ref().map_or(any, Lane::next)[..count]));
        lanes.iter_mut().flatten().for_each(|lane| lane.advance(count));
    }
}

/// A message as blocks: those of its own, and one or two that end it.
struct Padded<'a> {
    whole: &'a [Block],
    end: [Block; 2],
    needs_both: bool,
}

impl<'a> Padded<'a> {
    fn new(message: &'a [u8]) -> Self {
        let (whole, rest) = message.as_chunks();
        let mut end = [[0; 64]; 2];
        let bytes = end.as_flattened_mut();
        let (text, padding) = bytes.split_at_mut(rest.len());
        text.copy_from_slice(rest);
        padding[0] = 0x80;
        let needs_both = rest.len() + 1 + LENGTH > size_of::<Block>();
        let bits = (message.len() as u64).wrapping_mul(8);
        end[usize::from(needs_both)][size_of::<Block>() - LENGTH..].copy_from_slice(&bits.to_le_bytes());
        Self { whole, end, needs_both }
    }

    fn last(&self) -> &[Block] {
        &self.end[..1 + usize::from(self.needs_both)]
    }
}

/// A message at work.
struct Lane<'a> {
    blocks: &'a [Block],
    /// What follows them.
    last: &'a [Block],
    digest: &'a mut Digest,
}

impl<'a> Lane<'a> {
    fn is_done(&self) -> bool {
        self.next().is_empty()
    }

    /// The blocks that come next; none at the end of the message.
    fn next(&self) -> &'a [Block] {
        if self.blocks.is_empty() { self.last } else { self.blocks }
    }

    fn advance(&mut self, count: usize) {
        let part = if self.blocks.is_empty() { &mut self.last } else { &mut self.blocks };
        *part = &part[count..];
    }
}

fn digest_of(state: [u32; 4]) -> Digest {
    let mut digest = Digest::default();
    for (bytes, number) in zip(digest.as_chunks_mut().0, state) {
        *bytes = number.to_le_bytes();
    }
    digest
}

fn vector(numbers: Numbers) -> Vector {
    from_fn(|vector| u32x4::new(from_fn(|place| numbers[vector * WIDTH + place])))
}

/// Takes in blocks of each lane, equally many of all.
fn digest_blocks(state: &mut [Numbers; 4], lanes: [&[Block]; LANES]) {
    let mut vectors = state.map(vector);
    for index in 0..lanes[0].len() {
        let blocks = lanes.map(|blocks| &blocks[index]);
        vectors = digest_block(
            vectors,
            &from_fn(|word| vector(blocks.map(|block| block.as_chunks().0[word]).map(u32::from_le_bytes))),
        );
    }
    for (numbers, vectors) in zip(state, vectors) {
        *numbers = from_fn(|lane| vectors[lane / WIDTH].to_array()[lane % WIDTH]);
    }
}

/// The constant of each step: the first 32 bits of the sine's fraction (RFC 1321, section 3.4).
const SINES: [u32; 64] = [
    0xd76a_a478,
    0xe8c7_b756,
    0x2420_70db,
    0xc1bd_ceee,
    0xf57c_0faf,
    0x4787_c62a,
    0xa830_4613,
    0xfd46_9501,
    0x6980_98d8,
    0x8b44_f7af,
    0xffff_5bb1,
    0x895c_d7be,
    0x6b90_1122,
    0xfd98_7193,
    0xa679_438e,
    0x49b4_0821,
    0xf61e_2562,
    0xc040_b340,
    0x265e_5a51,
    0xe9b6_c7aa,
    0xd62f_105d,
    0x0244_1453,
    0xd8a1_e681,
    0xe7d3_fbc8,
    0x21e1_cde6,
    0xc337_07d6,
    0xf4d5_0d87,
    0x455a_14ed,
    0xa9e3_e905,
    0xfcef_a3f8,
    0x676f_02d9,
    0x8d2a_4c8a,
    0xfffa_3942,
    0x8771_f681,
    0x6d9d_6122,
    0xfde5_380c,
    0xa4be_ea44,
    0x4bde_cfa9,
    0xf6bb_4b60,
    0xbebf_bc70,
    0x289b_7ec6,
    0xeaa1_27fa,
    0xd4ef_3085,
    0x0488_1d05,
    0xd9d4_d039,
    0xe6db_99e5,
    0x1fa2_7cf8,
    0xc4ac_5665,
    0xf429_2244,
    0x432a_ff97,
    0xab94_23a7,
    0xfc93_a039,
    0x655b_59c3,
    0x8f0c_cc92,
    0xffef_f47d,
    0x8584_5dd1,
    0x6fa8_7e4f,
    0xfe2c_e6e0,
    0xa301_4314,
    0x4e08_11a1,
    0xf753_7e82,
    0xbd3a_f235,
    0x2ad7_d2bb,
    0xeb86_d391,
];

/// RFC 1321, section 3.4, rounds 1 to 4.
#[inline]
fn digest_block(state: [Vector; 4], words: &[Vector; 16]) -> [Vector; 4] {
    let mixed = round::<7, 12, 17, 22>(state, |step| (words[step], SINES[step]), |x, y, z| z ^ (x & (y ^ z)));
    let second = |step: usize| (words[(5 * step + 1) % 16], SINES[16 + step]);
    let mixed = round::<5, 9, 14, 20>(mixed, second, |x, y, z| y ^ (z & (x ^ y)));
    let third = |step: usize| (words[(3 * step + 5) % 16], SINES[32 + step]);
    let mixed = round::<4, 11, 16, 23>(mixed, third, |x, y, z| x ^ y ^ z);
    let fourth = |step: usize| (words[7 * step % 16], SINES[48 + step]);
    let mixed = round::<6, 10, 15, 21>(mixed, fourth, |x, y, z| y ^ (x | !z));
    from_fn(|number| from_fn(|vector| state[number][vector] + mixed[number][vector]))
}

/// Sixteen steps; `input` gives the word and the constant of each.
#[inline]
fn round<const A: u32, const D: u32, const C: u32, const B: u32>(
    [mut a, mut b, mut c, mut d]: [Vector; 4],
    input: impl Fn(usize) -> (Vector, u32),
    mix: impl Fn(u32x4, u32x4, u32x4) -> u32x4,
) -> [Vector; 4] {
    for step in (0..16).step_by(4) {
        turn::<A>(&mut a, [b, c, d], input(step), &mix);
        turn::<D>(&mut d, [a, b, c], input(step + 1), &mix);
        turn::<C>(&mut c, [d, a, b], input(step + 2), &mix);
        turn::<B>(&mut b, [c, d, a], input(step + 3), &mix);
    }
    [a, b, c, d]
}

#[inline]
fn turn<const BITS: u32>(
    a: &mut Vector,
    [b, c, d]: [Vector; 3],
    (words, sine): (Vector, u32),
    mix: impl Fn(u32x4, u32x4, u32x4) -> u32x4,
) {
    for vector in 0..VECTORS {
        let sum = (a[vector] + u32x4::splat(sine)) + (mix(b[vector], c[vector], d[vector]) + words[vector]);
        a[vector] = ((sum << BITS) | (sum >> (32 - BITS))) + b[vector];
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    fn one_by_one(messages: &[&[u8]]) -> Vec<Digest> {
        messages.iter().map(|message| Md5::digest(message).into()).collect()
    }

    #[test]
    fn a_message_may_end_anywhere_in_a_block() {
        let noise: Vec<u8> = (0..=255).cycle().take(200).collect();
        let messages: Vec<&[u8]> = (0..=200).map(|length| &noise[..length]).collect();
        assert_eq!(digests(&messages), one_by_one(&messages));
    }

    #[test]
    fn the_words_of_the_rfc() {
        let texts: [&[u8]; 3] = [b"", b"abc", b"message digest"];
        let expected = [
            "d41d8cd98f00b204e9800998ecf8427e",
            "900150983cd24fb0d6963f7d28e17f72",
            "f96b697d7cb7938d525a2f31aaf161d0",
        ];
        let hex = |digest: Digest| digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        assert_eq!(digests(&texts).into_iter().map(hex).collect::<Vec<_>>(), expected);
        assert_eq!(digests(&texts[1..2]).into_iter().map(hex).collect::<Vec<_>>(), expected[1..2]);
        assert!(digests(&[]).is_empty());
    }

    proptest! {
        #[test]
        fn any_messages_side_by_side_are_as_one_by_one(messages in vec(vec(any::<u8>(), 0..700), 0..30)) {
            let messages: Vec<&[u8]> = messages.iter().map(Vec::as_slice).collect();
            prop_assert_eq!(digests(&messages), one_by_one(&messages));
        }
    }
}
