//! Random numbers as a function of (seed, stream, step, index): Philox4x32-10.
//!
//! J. K. Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011. Any number can be
//! computed anywhere, in any order, on any device; so results do not depend on who asks first.

use std::convert::Infallible;

/// What a number is for. Two uses with different streams never share a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Stream {
    InitialWeights = 1,
    SpectralVectors = 2,
    Split = 3,
    Stage1Batch = 4,
    Stage2Batch = 5,
    Mirror = 6,
    FeatureNoise = 7,
    Stage1Dropout = 8,
    CriticNoise = 9,
    CriticAlpha = 10,
    GeneratorNoise = 11,
    SampleNoise = 12,
    SampleCondition = 13,
    SampleLength = 14,
    SampleEvents = 15,
    SummaryNoise = 16,
    Evaluation = 17,
    Demo = 18,
    PathLottery = 19,
    Turn = 20,
    SampleSummaryNoise = 21,
}

pub(crate) const MULTIPLIERS: [u32; 2] = [0xD251_1F53, 0xCD9E_8D57];
const WEYL: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];

/// The key of one of the ten rounds.
#[inline(always)]
pub(crate) fn round_key(key: [u32; 2], round: u32) -> [u32; 2] {
    [0, 1].map(|i| key[i].wrapping_add(WEYL[i].wrapping_mul(round)))
}

/// One block of four numbers. The key is the seed, low word first.
pub fn philox(key: [u32; 2], counter: [u32; 4]) -> [u32; 4] {
    let mut c = counter;
    for round in 0..10 {
        let k = round_key(key, round);
        let p0 = u64::from(MULTIPLIERS[0]) * u64::from(c[0]);
        let p1 = u64::from(MULTIPLIERS[1]) * u64::from(c[2]);
        c = [(p1 >> 32) as u32 ^ c[1] ^ k[0], p1 as u32, (p0 >> 32) as u32 ^ c[3] ^ k[1], p0 as u32];
    }
    c
}

/// Blocks that [`philox_blocks`] makes at a time.
pub const BLOCKS: usize = 16;

/// Blocks first, first + 1 ... of [`philox`] with the other counters in `rest`, in a form that vectorises:
/// word k of block i is at [k][i].
#[inline(always)]
pub fn philox_blocks(key: [u32; 2], first: u32, rest: [u32; 3]) -> [[u32; BLOCKS]; 4] {
    let counters = std::array::from_fn(|i| first.wrapping_add(i as u32));
    let mut c = [counters, [rest[0]; BLOCKS], [rest[1]; BLOCKS], [rest[2]; BLOCKS]];
    for round in 0..10 {
        let k = round_key(key, round);
        let p0 = c[0].map(|x| u64::from(MULTIPLIERS[0]) * u64::from(x));
        let p1 = c[2].map(|x| u64::from(MULTIPLIERS[1]) * u64::from(x));
        c = [
            std::array::from_fn(|i| (p1[i] >> 32) as u32 ^ c[1][i] ^ k[0]),
            p1.map(|p| p as u32),
            std::array::from_fn(|i| (p0[i] >> 32) as u32 ^ c[3][i] ^ k[1]),
            p0.map(|p| p as u32),
        ];
    }
    c
}

/// 24 bits to a float in [0, 1).
pub fn unit_f32(bits: u32) -> f32 {
    (bits >> 8) as f32 * (1.0 / 16_777_216.0)
}

/// Two standard normal numbers from two words (Box-Muller).
pub fn normal_pair(a: u32, b: u32) -> [f64; 2] {
    let u = (f64::from(a) + 1.0) * (1.0 / 4_294_967_296.0); // (0, 1], so that the logarithm is finite
    let angle = f64::from(b) * (std::f64::consts::TAU / 4_294_967_296.0);
    let radius = (-2.0 * u.ln()).sqrt();
    [radius * angle.cos(), radius * angle.sin()]
}

/// The numbers of one (seed, stream, step), in order. Counter: index, step low, step high, stream.
#[derive(Clone, Debug)]
pub struct Rng {
    key: [u32; 2],
    stream: u32,
    step: u64,
    index: u32,
    block: [u32; 4],
    used: usize,
    spare_normal: Option<f64>,
}

impl Rng {
    pub fn new(seed: u64, stream: Stream, step: u64) -> Self {
        let key = [seed as u32, (seed >> 32) as u32];
        Rng { key, stream: stream as u32, step, index: 0, block: [0; 4], used: 4, spare_normal: None }
    }

    /// Words 4*index .. 4*index+4 of the sequence, wherever it stands.
    pub fn block(&self, index: u32) -> [u32; 4] {
        philox(self.key, [index, self.step as u32, (self.step >> 32) as u32, self.stream])
    }

    pub fn word(&mut self) -> u32 {
        if self.used == 4 {
            self.block = self.block(self.index);
            self.index = self.index.wrapping_add(1);
            self.used = 0;
        }
        self.used += 1;
        self.block[self.used - 1]
    }

    /// [0, 1) in steps of 2^-53.
    pub fn unit(&mut self) -> f64 {
        let bits = u64::from(self.word()) << 32 | u64::from(self.word());
        (bits >> 11) as f64 * (1.0 / 9_007_199_254_740_992.0)
    }

    pub fn range(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }

    /// 0 .. n. The bias of at most n / 2^32 does not matter for batches and splits.
    pub fn below(&mut self, n: usize) -> usize {
        debug_assert!(n > 0 && n <= u32::MAX as usize);
        ((u64::from(self.word()) * n as u64) >> 32) as usize
    }

    pub fn normal(&mut self) -> f64 {
        if let Some(x) = self.spare_normal.take() {
            return x;
        }
        let [x, y] = normal_pair(self.word(), self.word());
        self.spare_normal = Some(y);
        x
    }

    /// Fisher-Yates.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i + 1));
        }
    }

    /// 0 .. n in random order.
    pub fn permutation(&mut self, n: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..n).collect();
        self.shuffle(&mut order);
        order
    }
}

impl rand_core::TryRng for Rng {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> std::result::Result<u32, Infallible> {
        Ok(self.word())
    }

    fn try_next_u64(&mut self) -> std::result::Result<u64, Infallible> {
        Ok(u64::from(self.word()) | u64::from(self.word()) << 32)
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> std::result::Result<(), Infallible> {
        for chunk in bytes.chunks_mut(4) {
            chunk.copy_from_slice(&self.word().to_le_bytes()[..chunk.len()]);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Known answers of Random123 (kat_vectors, philox4x32-10).
    #[test]
    fn known_answers() {
        assert_eq!(philox([0; 2], [0; 4]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        let ones = u32::MAX;
        assert_eq!(philox([ones; 2], [ones; 4]), [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]);
        let pi = [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344];
        assert_eq!(philox([0xa409_3822, 0x299f_31d0], pi), [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]);
    }

    #[test]
    fn streams_and_steps_do_not_overlap() {
        let first = |stream, step| Rng::new(7, stream, step).word();
        assert_ne!(first(Stream::CriticNoise, 0), first(Stream::GeneratorNoise, 0));
        assert_ne!(first(Stream::CriticNoise, 0), first(Stream::CriticNoise, 1));
        assert_ne!(first(Stream::CriticNoise, 0), first(Stream::CriticNoise, 1 << 32));
    }

    #[test]
    fn moments() {
        let mut rng = Rng::new(1, Stream::Evaluation, 0);
        let n = 200_000;
        let normals: Vec<f64> = (0..n).map(|_| rng.normal()).collect();
        let mean = normals.iter().sum::<f64>() / n as f64;
        let variance = normals.iter().map(|x| x * x).sum::<f64>() / n as f64;
        assert!(mean.abs() < 0.01 && (variance - 1.0).abs() < 0.02, "{mean} {variance}");
        let unit = (0..n).map(|_| rng.unit()).sum::<f64>() / n as f64;
        assert!((unit - 0.5).abs() < 0.01, "{unit}");
    }

    #[test]
    fn permutation_is_one() {
        let mut order = Rng::new(3, Stream::Split, 0).permutation(1000);
        assert_ne!(order, (0..1000).collect::<Vec<_>>());
        order.sort_unstable();
        assert_eq!(order, (0..1000).collect::<Vec<_>>());
    }
}
