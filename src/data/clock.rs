//! The clock of recordings: the interval that their time steps are multiples of.

use crate::order;

/// The fewest parts of a millisecond (1, 10, 100 or 1000) that all time steps are whole numbers of, but for rounding; 0: none.
pub fn per_ms(dts: impl Iterator<Item = f64> + Clone) -> u32 {
    let whole = |x: f64, per_ms: u32| (x - (x * f64::from(per_ms)).round() / f64::from(per_ms)).abs() < 1e-6;
    let fits = |per_ms: &u32| dts.clone().all(|dt| whole(dt, *per_ms));
    [1, 10, 100, 1000].into_iter().find(fits).unwrap_or(0)
}

/// The sampling interval (ms) of movements' time steps: the most frequent step, or the largest whole part of it in whose ticks
/// movements take as long as recorded. Recordings of several clocks need such a part: in ticks of 16 ms steps of 8 ms take twice
/// their time. So do some of a clock that trembles.
pub(super) fn tick(movements: &[Vec<f64>]) -> f64 {
    /// What clocks of 1 ms and 16 ms have in common is a sixteenth. Reports that come in pairs, at once, have nothing in common.
    const PARTS: u32 = 16;
    /// A movement takes another time if it is off by more than this share ..
    const MOST_OFF: f64 = 0.1;
    /// .. and so much of all time may be in such movements.
    const MOST_TIME: f64 = 0.01;
    let mut sorted = movements.concat();
    order::rise(&mut sorted);
    let whole: f64 = sorted.iter().sum();
    let off = |tick: f64| {
        let time_off = |steps: &Vec<f64>| {
            let time: f64 = steps.iter().sum();
            let drawn: f64 = steps.iter().map(|&dt| ticks(dt, tick) * tick).sum();
            if (drawn - time).abs() > MOST_OFF * time { time } else { 0.0 }
        };
        movements.iter().map(time_off).sum::<f64>() / whole
    };
    let mode = mode(&sorted);
    // Two events of one smallest part of a millisecond would be at one time.
    let least = match per_ms(sorted.iter().copied()) {
        0 => 0.0,
        parts => (1.0 - 1e-6) / f64::from(parts),
    };
    let mut best = (f64::INFINITY, mode);
    for tick in (1..=PARTS).map(|part| refined(&sorted, mode / f64::from(part))).take_while(|&tick| tick >= least) {
        let off = off(tick);
        if off < best.0 {
            best = (off, tick);
        }
        if off <= MOST_TIME {
            break;
        }
    }
    // What rounding has added is nothing that a clock has.
    (best.1.max(1e-3) * 1e9).round() / 1e9
}

/// The middle of the densest stretch of an eighth of its length: the mode, for a clock of any kind.
fn mode(sorted: &[f64]) -> f64 {
    let mut best = (0, sorted[0]);
    let mut start = 0;
    for (end, &dt) in sorted.iter().enumerate() {
        while sorted[start] < dt / 1.125 {
            start += 1;
        }
        if end - start + 1 > best.0 {
            best = (end - start + 1, sorted[usize::midpoint(start, end)]);
        }
    }
    best.1
}

/// A tick near this one, so that all short steps are whole multiples of it on average. Steps half-way between two multiples
/// are of either, or of another clock: they say nothing.
fn refined(sorted: &[f64], mut tick: f64) -> f64 {
    for _ in 0..10 {
        let (time, count) = sorted.iter().fold((0.0, 0.0), |(time, count), dt| {
            let n = (dt / tick).round();
            let clear = (dt / tick - n).abs() < 0.4;
            if clear && (1.0..=4.0).contains(&n) { (time + dt, count + n) } else { (time, count) }
        });
        let before = tick;
        if count > 0.0 {
            tick = time / count;
        }
        if tick == before {
            break;
        }
    }
    tick
}

/// A time step in ticks: whole, at least 1.
pub(super) fn ticks(dt: f64, tick: f64) -> f64 {
    (dt / tick).round().max(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_is_found() {
        let tick = |dts: &[f64]| tick(&[dts.to_vec()]);
        // Clocks rounded to whole milliseconds, one with pauses.
        let rounded = |hz: f64| -> Vec<f64> {
            let times: Vec<f64> = (0..1000).map(|i| (f64::from(i) * 1000.0 / hz).round()).collect();
            times.windows(2).map(|t| t[1] - t[0]).collect()
        };
        let mut dts = rounded(64.0);
        dts.extend([31.0, 32.0, 47.0, 110.0, 203.0]);
        assert!((tick(&dts) - 15.625).abs() < 0.02, "{}", tick(&dts));
        assert!((tick(&rounded(360.0)) - 1000.0 / 360.0).abs() < 0.01, "{}", tick(&rounded(360.0)));
        assert!((tick(&[8.0, 7.0, 9.0, 8.0, 8.0, 40.0]) - 8.0).abs() < 0.1);
        assert_eq!(tick(&[1.0, 1.0, 1.0, 2.0, 5.0]), 1.0);
        // What was read as seconds is whole to within a rounding.
        let seconds: Vec<f64> = (0..300).map(|i| f64::from(i * 37 % 91 % 2 + 2) - 1e-9).collect();
        assert!((tick(&seconds) - 1.0).abs() < 1e-6, "{}", tick(&seconds));
        let times: Vec<f64> = (0..200).map(|i| f64::from(i) * 8.333).collect();
        assert_eq!(tick(&times.windows(2).map(|t| t[1] - t[0]).collect::<Vec<_>>()), 8.333);
    }

    /// What is most frequent, and not the middle of all that is about as long; and never so short that nothing is left of it.
    #[test]
    fn the_mode_is_of_a_narrow_stretch() {
        let steps = |counts: &[(usize, f64)]| counts.iter().flat_map(|&(n, dt)| vec![dt; n]).collect::<Vec<f64>>();
        assert_eq!(mode(&steps(&[(40, 8.0), (30, 12.0), (30, 15.0)])), 8.0);
        assert_eq!(mode(&steps(&[(30, 7.9), (40, 8.0), (60, 15.9)])), 8.0);
        assert_eq!(tick(&[vec![1e-7; 9]]), 1e-3);
    }

    /// Whatever clocks recordings have, what is drawn takes as long as they did.
    #[test]
    fn a_mixture_of_clocks_keeps_its_time() {
        // So many steps, 40 a movement, of each clock.
        let clock = |count: usize, dts: &[f64]| -> Vec<Vec<f64>> {
            let steps: Vec<f64> = dts.iter().copied().cycle().take(count).collect();
            steps.chunks(40).map(<[f64]>::to_vec).collect()
        };
        let tremble: Vec<f64> = (0..1000).map(|i| 8.0 + f64::from(i * 7919 % 101 - 50) / 12.5).collect();
        let mixtures = [
            vec![clock(5500, &[50.0 / 3.0]), clock(4500, &[8.0])],
            vec![clock(5100, &[16.0]), clock(4900, &[8.0])],
            vec![clock(6000, &[8.0]), clock(4000, &[1.0])],
            vec![clock(8000, &[8.0]), clock(2000, &[1.0])],
            vec![clock(6000, &[50.0 / 3.0]), clock(4000, &[1.0])],
            vec![clock(6000, &[50.0 / 3.0]), clock(4000, &[10.0])],
            vec![clock(6000, &[50.0 / 3.0]), clock(4000, &[25.0 / 6.0])],
            vec![clock(6000, &[8.0]), clock(4000, &[125.0 / 18.0])],
            vec![clock(1000, &[2.0, 3.0])], // 400 Hz in whole milliseconds
            vec![clock(1000, &[2.0, 2.0, 1.0, 2.0, 2.0, 2.0, 3.0])],
            vec![clock(1001, &[15.95, 0.03])], // reports in pairs, at once
            vec![clock(1000, &tremble)],
        ];
        for mixture in mixtures {
            let movements = mixture.concat();
            let tick = tick(&movements);
            for steps in movements {
                let drawn: f64 = steps.iter().map(|&dt| ticks(dt, tick) * tick).sum();
                let off = drawn / steps.iter().sum::<f64>() - 1.0;
                assert!(off.abs() <= 0.1, "{:?} ms .. in ticks of {tick}: off by {off}", &steps[..2]);
            }
        }
    }
}
