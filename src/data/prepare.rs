//! From a data set to what training needs: splits, quality filter, scaler, scaled features.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::readers::v4;
use super::steps::MOST_WAY;
use super::{Dataset, LengthModel, Movement, Point, Scaler, Split, features};
use crate::config::{ConditionKind, Config, DecoderKind};
use crate::error::{Error, Result, afford};
use crate::order;
use crate::rng::{Rng, Stream};

/// Shares of the movements: training, validation, and the rest for the test.
const SHARES: [f64; 3] = [0.6, 0.2, 0.2];

/// Everything training needs of a data set.
#[derive(Clone, Debug, PartialEq)]
pub struct Prepared {
    /// At least one movement.
    pub train: Split,
    /// May be empty where there are few movements.
    pub validation: Split,
    /// May be empty where there are few movements.
    pub test: Split,
    /// None for arrays that came without limits.
    pub scaler: Option<Scaler>,
    /// Of the training split.
    pub lengths: LengthModel,
    pub report: PrepareReport,
    /// SHA-256 of the training split, in hexadecimal: tells whether a checkpoint goes on with the same data.
    pub hash: String,
}

/// How many movements went where.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrepareReport {
    /// In the data set.
    pub movements: usize,
    /// Left out of all splits: more points than max_seq_len.
    pub too_long: usize,
    /// Left out of the training split: fewer points than quality_min_length.
    pub too_short: usize,
    /// Left out of the training split: a mean |feature| more than quality_z deviations from the mean. closed-loop: left out of
    /// all splits, an end further away than a walk can be asked to go.
    pub outliers: usize,
    pub train: usize,
    pub validation: usize,
    pub test: usize,
    /// Sessions that went to splits as a whole; 0 if movements were split one by one.
    pub sessions: usize,
}

impl Dataset {
    /// Splits 60/20/20 (whole sessions where three or more are known; a folder of arrays keeps its splits),
    /// leaves out what is too long for the model, filters the training split, fits the scaler on it unless one
    /// is given (that of a model that goes on), and scales. The same for the same data, config and scaler.
    pub fn prepare(&self, config: &Config, scaler: Option<&Scaler>) -> Result<Prepared> {
        if self.taught(config) != config.condition_dim {
            let expected = format!("{} as in the data set", self.taught(config));
            return Err(Error::argument("condition_dim", config.condition_dim, expected));
        }
        if self.feature_dim() != config.feature_dim {
            let expected = format!("{} as in the data set", self.feature_dim());
            return Err(Error::argument("feature_dim", config.feature_dim, expected));
        }
        if let Some(scaler) = scaler {
            scaler.check()?;
            if scaler.condition_dim() != config.condition_dim {
                let expected = format!("{} as condition_dim", config.condition_dim);
                return Err(Error::argument("scaler conditions", scaler.condition_dim(), expected));
            }
        }
        afford(self.preparing_bytes(), "splits")?;
        match &self.arrays {
            Some(folder) => prepare_arrays(folder, config, scaler),
            None => prepare_movements(self, config, scaler),
        }
    }

    /// More than the splits take: points once more, and features twice, for the filter and afterwards.
    fn preparing_bytes(&self) -> usize {
        let steps: usize = match &self.arrays {
            Some(folder) => folder.splits.iter().flat_map(|rows| &rows.lengths).sum(),
            None => self.movements.iter().map(|m| m.points.len()).sum(),
        };
        let row = size_of::<Movement>() + 16 * self.condition_dim() + 64;
        steps * (size_of::<Point>() + 12 * self.feature_dim()) + self.len() * row
    }

    /// Numbers of a movement's condition, C: the set's own, but for a closed loop, which is asked for targets and has no use for
    /// several.
    pub fn taught(&self, config: &Config) -> usize {
        if config.decoder == DecoderKind::ClosedLoop && self.arrays.is_none() { 1 } else { self.condition_dim() }
    }

    /// Raw condition (C) of movement i.
    fn condition(&self, i: usize, config: &Config) -> Vec<f64> {
        let own = self.conditions.as_ref().filter(|_| self.taught(config) == self.condition_dim());
        match (own, config.condition) {
            (Some(own), _) => own[i * self.condition_dim()..][..self.condition_dim()].to_vec(),
            (None, ConditionKind::Straight) => vec![self.movements[i].straight_distance()],
            (None, ConditionKind::Path) => vec![self.movements[i].path_length()],
        }
    }
}

fn prepare_movements(data: &Dataset, config: &Config, given: Option<&Scaler>) -> Result<Prepared> {
    let all = 0..data.len();
    let kept: Vec<usize> = all.filter(|&i| data.movements[i].points.len() <= config.max_seq_len).collect();
    let mut report = PrepareReport { movements: data.len(), ..PrepareReport::default() };
    report.too_long = data.len() - kept.len();
    // A walk can only be asked for so much: what is further is no pointer's.
    let walkable = |i: &usize| {
        config.decoder == DecoderKind::V6 || data.movements[*i].target().iter().all(|x| x.abs() <= MOST_WAY)
    };
    let kept: Vec<usize> = kept.into_iter().filter(walkable).collect();
    let unwalkable = data.len() - report.too_long - kept.len();
    let (mut splits, sessions) = split(&data.movements, &kept, config.seed);
    report.sessions = sessions;
    let fit = |train: &[usize]| {
        let movements: Vec<&Movement> = train.iter().map(|&i| &data.movements[i]).collect();
        let conditions: Vec<f64> = train.iter().flat_map(|&i| data.condition(i, config)).collect();
        Scaler::fit(&movements, &conditions, data.taught(config), config.augment_mirror)
    };
    let scaled = |split: &[usize], scaler: &Scaler| {
        let mut out = Split::new(data.feature_dim(), data.taught(config));
        for &i in split {
            let mut condition = scaler.scale_condition(&data.condition(i, config));
            condition.iter_mut().for_each(|c| *c = c.clamp(-1.0, 1.0));
            out.push(&scaler.scale(&features(&data.movements[i].points)), &condition);
            out.movements.push(data.movements[i].clone());
        }
        out
    };
    // The filter looks at scaled features; the limits are then those of what it lets through, so that one
    // broken recording does not squeeze all others into a corner of [-1,1]. A given scaler has no say in the filter:
    // a model that goes on must see the movements that it saw before.
    something(splits[0].len(), unwalkable, &report)?;
    let keep = quality(&scaled(&splits[0], &fit(&splits[0])?), config, &mut report);
    splits[0] = keep.into_iter().map(|at| splits[0][at]).collect();
    something(splits[0].len(), unwalkable, &report)?;
    report.outliers += unwalkable;
    let scaler = given.map_or_else(|| fit(&splits[0]), |scaler| Ok(scaler.clone()))?;
    let splits = splits.map(|split| scaled(&split, &scaler));
    finish(splits, Some(scaler), report)
}

fn prepare_arrays(folder: &v4::Folder, config: &Config, given: Option<&Scaler>) -> Result<Prepared> {
    let total = folder.splits.iter().map(|rows| rows.lengths.len()).sum();
    let mut report = PrepareReport { movements: total, ..PrepareReport::default() };
    let rescale = match (given, &folder.scaler) {
        (Some(to), Some(from)) if to != from => Some((from, to)),
        (Some(_), None) => {
            return Err(Error::argument(
                "data set",
                "without its scaler",
                "one with scaler.json or normalization_params.npy, as the model has limits",
            ));
        }
        _ => None,
    };
    let mut splits = folder.splits.each_ref().map(|rows| {
        let mut out = Split::new(folder.feature_dim, folder.condition_dim);
        let mut at = 0;
        for (&length, condition) in rows.lengths.iter().zip(rows.conditions.chunks_exact(folder.condition_dim)) {
            let features = &rows.features[at..][..length * folder.feature_dim];
            at += features.len();
            if length > config.max_seq_len {
                report.too_long += 1;
            } else if let Some((from, to)) = rescale {
                let mut condition = to.scale_condition(&from.unscale_condition(condition));
                condition.iter_mut().for_each(|c| *c = c.clamp(-1.0, 1.0));
                out.push(&to.scale(&from.unscale(features)), &condition);
            } else {
                out.push(features, condition);
            }
        }
        out
    });
    if !folder.filtered {
        let keep = quality(&splits[0], config, &mut report);
        let mut train = Split::new(folder.feature_dim, folder.condition_dim);
        keep.into_iter().for_each(|i| train.push(splits[0].features(i), splits[0].condition(i)));
        splits[0] = train;
    }
    something(splits[0].len(), 0, &report)?;
    finish(splits, given.or(folder.scaler.as_ref()).cloned(), report)
}

/// `unwalkable`: left out because of their way, and not yet counted in the report.
fn something(left: usize, unwalkable: usize, report: &PrepareReport) -> Result<()> {
    if left > 0 {
        return Ok(());
    }
    let PrepareReport { movements, too_long, too_short, outliers, .. } = report;
    let further = if unwalkable > 0 { format!("{unwalkable} further than {MOST_WAY} px, ") } else { String::new() };
    let expected = format!(
        "1 or more (of {movements} movements {too_long} are longer than max_seq_len, {further}{too_short} shorter than \
         quality_min_length, {outliers} beyond quality_z)"
    );
    Err(Error::argument("training movements", left, expected))
}

fn finish(splits: [Split; 3], scaler: Option<Scaler>, mut report: PrepareReport) -> Result<Prepared> {
    let [train, validation, test] = splits;
    (report.train, report.validation, report.test) = (train.len(), validation.len(), test.len());
    let lengths = LengthModel::fit(&train.first_conditions(), &train.lengths())?;
    let hash = hash(&train);
    Ok(Prepared { train, validation, test, scaler, lengths, report, hash })
}

/// Which movements of the training split stay: the seed's filter. The deviation of each mean |feature| is
/// measured against the movements that are long enough.
fn quality(train: &Split, config: &Config, report: &mut PrepareReport) -> Vec<usize> {
    let long: Vec<usize> = (0..train.len()).filter(|&i| train.length(i) >= config.quality_min_length).collect();
    report.too_short = train.len() - long.len();
    if config.quality_z == 0.0 || long.is_empty() {
        return long;
    }
    let f = train.feature_dim();
    let mean_abs = |&i: &usize| {
        let mut mean = vec![0.0; f];
        for row in train.features(i).chunks_exact(f) {
            row.iter().zip(&mut mean).for_each(|(&v, mean)| *mean += f64::from(v).abs() / train.length(i) as f64);
        }
        mean
    };
    let stats: Vec<Vec<f64>> = long.iter().map(mean_abs).collect();
    let n = stats.len() as f64;
    let mean = |k: usize| stats.iter().map(|s| s[k]).sum::<f64>() / n;
    let means: Vec<f64> = (0..f).map(mean).collect();
    let deviation = |k: usize| (stats.iter().map(|s| (s[k] - means[k]).powi(2)).sum::<f64>() / n).sqrt();
    let deviations: Vec<f64> = (0..f).map(deviation).collect();
    let usual = |s: &[f64]| (0..f).all(|k| (s[k] - means[k]).abs() / (deviations[k] + 1e-8) < config.quality_z);
    let kept: Vec<usize> = long.iter().zip(&stats).filter(|(_, s)| usual(s)).map(|(&i, _)| i).collect();
    report.outliers = long.len() - kept.len();
    kept
}

/// Splits the kept movements, and how many sessions did so as a whole.
fn split(movements: &[Movement], kept: &[usize], seed: u64) -> ([Vec<usize>; 3], usize) {
    let mut rng = Rng::new(seed, Stream::Split, 0);
    // Movements without a session are each one of their own: after all others, by their number.
    let of = |i: usize| match &movements[i].session {
        Some(session) => (false, &movements[i].user, session.as_str(), 0),
        None => (true, &movements[i].user, "", i),
    };
    let sessions = order::groups(kept, &|a, b| of(a).cmp(&of(b)));
    let named = sessions.iter().filter(|rows| movements[rows[0]].session.is_some()).count();
    if named < 3 {
        let mut order = kept.to_vec();
        rng.shuffle(&mut order);
        let n = order.len() as f64;
        let first = ((n * SHARES[0]) as usize).max(1).min(order.len());
        let second = (first + (n * SHARES[1]) as usize).min(order.len());
        return ([order[..first].to_vec(), order[first..second].to_vec(), order[second..].to_vec()], 0);
    }
    let mut sessions: Vec<(&Option<String>, Vec<usize>)> =
        sessions.into_iter().map(|rows| (&movements[rows[0]].user, rows)).collect();
    rng.shuffle(&mut sessions);
    let mut users: BTreeMap<&Option<String>, [usize; 2]> = BTreeMap::new(); // sessions, and movements
    for (user, session) in &sessions {
        let [count, size] = users.entry(user).or_default();
        (*count, *size) = (*count + 1, *size + session.len());
    }
    // Each session goes where most is missing, of its user and in all, so that every split has the same mix of users;
    // then no split is left without.
    let mut splits: [Vec<Vec<usize>>; 3] = Default::default();
    let mut of_users: [BTreeMap<&Option<String>, usize>; 3] = Default::default();
    let mut sizes = [0; 3];
    for (user, session) in sessions {
        let missing = |k: usize| {
            let in_all = SHARES[k] - sizes[k] as f64 / kept.len() as f64;
            match users[user] {
                [1, _] => in_all, // a user's only session can be no mix
                [_, size] => in_all + SHARES[k] - of_users[k].get(user).copied().unwrap_or(0) as f64 / size as f64,
            }
        };
        let most = (0..3).fold(0, |best, k| if missing(k) > missing(best) { k } else { best });
        *of_users[most].entry(user).or_default() += session.len();
        sizes[most] += session.len();
        splits[most].push(session);
    }
    while let Some(empty) = splits.iter().position(Vec::is_empty) {
        let fullest = (0..3).fold(0, |best, k| if splits[k].len() > splits[best].len() { k } else { best });
        let smallest = (0..splits[fullest].len()).min_by_key(|&i| splits[fullest][i].len()).unwrap_or(0);
        let session = splits[fullest].swap_remove(smallest);
        splits[empty].push(session);
    }
    (splits.map(|split| split.concat()), named)
}

fn hash(train: &Split) -> String {
    let mut sha = Sha256::new();
    for n in [train.len(), train.feature_dim, train.condition_dim].iter().chain(&train.starts) {
        sha.update((*n as u64).to_le_bytes());
    }
    for value in train.conditions.iter().chain(&train.features) {
        sha.update(value.to_le_bytes());
    }
    sha.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Movements of (user, session, how many).
    fn movements(sessions: &[(&str, &str, usize)]) -> Vec<Movement> {
        let of = |&(user, session, count): &(&str, &str, usize)| {
            let one = Movement { user: Some(user.into()), session: Some(session.into()), ..Movement::default() };
            vec![one; count]
        };
        sessions.iter().flat_map(of).collect()
    }

    fn sizes(movements: &[Movement], seed: u64) -> [usize; 3] {
        split(movements, &(0..movements.len()).collect::<Vec<_>>(), seed).0.map(|rows| rows.len())
    }

    /// Of three sessions each goes to a split, and to the test no more than has to.
    #[test]
    fn a_split_that_would_be_empty_gets_the_smallest_session() {
        let movements = movements(&[("a", "1", 50), ("a", "2", 30), ("a", "3", 20)]);
        for seed in 0..20 {
            let [train, validation, test] = sizes(&movements, seed);
            assert!(train > test && validation > 0 && test > 0, "{seed}: {train} {validation} {test}");
        }
    }

    /// Users of which one has many more recordings are in every split with the shares that the splits have.
    #[test]
    fn every_split_has_the_same_mix_of_users() {
        let names: Vec<String> = (0..20).map(|i| i.to_string()).collect();
        let of = |user, count| names.iter().map(move |name| (user, name.as_str(), count));
        let movements = movements(&of("much", 40).chain(of("little", 4)).collect::<Vec<_>>());
        for seed in 0..20 {
            let (splits, sessions) = split(&movements, &(0..movements.len()).collect::<Vec<_>>(), seed);
            assert_eq!(sessions, 40, "sessions of one name are other sessions of another user");
            let little =
                splits.map(|rows| rows.iter().filter(|&&i| movements[i].user.as_deref() == Some("little")).count());
            assert_eq!((little, sizes(&movements, seed)), ([48, 16, 16], [528, 176, 176]), "{seed}");
        }
    }

    /// They have no mix that could be kept.
    #[test]
    fn users_of_one_session_each_are_split_like_sessions() {
        let names: Vec<String> = (0..30).map(|i| i.to_string()).collect();
        let once: Vec<_> = names.iter().map(|name| (name.as_str(), "1", 15)).collect();
        let sessions: Vec<_> = names[..20].iter().map(|name| ("often", name.as_str(), 15)).collect();
        for seed in 0..20 {
            assert_eq!(sizes(&movements(&once), seed), [270, 90, 90], "{seed}");
            let [train, validation, test] = sizes(&movements(&[&once[..], &sessions].concat()), seed);
            let near = |size: usize, share: usize| size.abs_diff(share) <= 15; // a session
            assert!(
                near(train, 450) && near(validation, 150) && near(test, 150),
                "{seed}: {train} {validation} {test}"
            );
        }
    }

    /// Limits are those of mirror images, too, only where these are shown.
    #[test]
    fn limits_without_mirrors_are_those_of_the_recordings() {
        let mut data = Dataset::new(1);
        for n in 10..40 {
            let point = |i: i32| Point { x: f64::from(i * n), y: -f64::from(i), t_ms: f64::from(8 * i) };
            data.push(Movement::new((0..10).map(point).collect()).unwrap(), None).unwrap();
        }
        let limits = |augment_mirror| {
            let config = Config { augment_mirror, quality_z: 0.0, ..Config::default() };
            let scaler = data.prepare(&config, None).unwrap().scaler.unwrap();
            (scaler.min[0] < 0.0, scaler.max[1] > 0.0)
        };
        assert_eq!((limits(true), limits(false)), ((true, true), (false, false)));
    }

    /// Two named sessions are too few, and movements without a session are each one of their own.
    #[test]
    fn few_sessions_are_split_by_movement() {
        let two = movements(&[("a", "1", 50), ("a", "2", 50)]);
        assert_eq!(split(&two, &(0..100).collect::<Vec<_>>(), 1).1, 0);
        assert_eq!(sizes(&two, 1), [60, 20, 20]);
        assert_eq!(sizes(&two[..1], 1), [1, 0, 0]);
        let mut three = movements(&[("a", "1", 10), ("a", "2", 10), ("a", "3", 10), ("a", "", 30)]);
        three[30..].iter_mut().for_each(|m| m.session = None);
        let (splits, sessions) = split(&three, &(0..60).collect::<Vec<_>>(), 1);
        assert_eq!(sessions, 3);
        assert!(splits.iter().all(|rows| rows.iter().any(|&i| i >= 30)), "{splits:?}");
    }
}
