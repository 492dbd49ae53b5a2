//! A selector that matches nothing in, the label set that was probably meant out: compared by edit distance, by case and
//! separators, and by the names that people use for the same label.

use std::cmp::Reverse;

use crate::snapshot::Labels;

/// Label names that mean the same to people.
const SAME: [&str; 6] = ["app", "app.kubernetes.io/name", "k8s-app", "name", "run", "app.kubernetes.io/instance"];

/// What one pair of the selector became.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The pair is there.
    Same,
    /// A pair that is nearly it: its name and value.
    Close(Box<str>, Box<str>),
    /// The name is there with quite another value.
    Differs(Box<str>),
    /// The name is not there.
    Absent,
}

/// How near a label set is to a selector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Near {
    /// Smaller is nearer.
    cost: usize,
    /// For each pair of the selector, in order.
    steps: Vec<(Box<str>, Box<str>, Step)>,
}

/// A pair that is not there at all costs this.
const FAR: usize = 100;

/// Compares; none if more than half of the pairs are not even close, or if the set matches.
pub(super) fn compare(selector: &Labels, labels: &Labels) -> Option<Near> {
    let mut near = Near { cost: 0, steps: Vec::new() };
    let mut far = 0;
    for (name, value) in selector {
        let (cost, step) = pair(name, value, labels);
        far += usize::from(cost >= FAR);
        near.cost += cost;
        near.steps.push((name.clone(), value.clone(), step));
    }
    (near.cost > 0 && far * 2 <= selector.len() && far < selector.len()).then_some(near)
}

/// What one pair of the selector costs against a label set.
fn pair(name: &str, value: &str, labels: &Labels) -> (usize, Step) {
    if let Some(there) = labels.get(name) {
        if **there == *value {
            return (0, Step::Same);
        }
        if let Some(cost) = close(value, there) {
            return (cost, Step::Close(name.into(), there.clone()));
        }
    }
    let renamed = labels.iter().filter_map(|(other, there)| {
        let name_cost = same_name(name, other)?;
        let value_cost = if **there == *value { 0 } else { close(value, there)? };
        Some((2 + name_cost + value_cost, other, there))
    });
    match (renamed.min_by_key(|(cost, ..)| *cost), labels.get(name)) {
        (Some((cost, other, there)), _) => (cost, Step::Close(other.clone(), there.clone())),
        (None, Some(there)) => (FAR, Step::Differs(there.clone())),
        (None, None) => (FAR + 1, Step::Absent),
    }
}

/// How far two different names are apart that may mean the same label.
fn same_name(name: &str, other: &str) -> Option<usize> {
    if name == other {
        return None;
    }
    if SAME.contains(&name) && SAME.contains(&other) {
        return Some(1);
    }
    let last = |name: &str| name.rsplit('/').next().unwrap_or_default().to_owned();
    if last(name) == last(other) { Some(1) } else { close(name, other) }
}

/// How far two different words are apart, if one may be a slip of the other.
pub(super) fn close(one: &str, other: &str) -> Option<usize> {
    let plain = |word: &str| -> String {
        word.chars().filter(|letter| letter.is_ascii_alphanumeric()).map(|letter| letter.to_ascii_lowercase()).collect()
    };
    let (plain_one, plain_other) = (plain(one), plain(other));
    if one.eq_ignore_ascii_case(other) || (!plain_one.is_empty() && plain_one == plain_other) {
        return Some(1);
    }
    let longest = one.chars().count().max(other.chars().count());
    let most = if longest <= 3 { 0 } else { (longest / 3).min(4) };
    let distance = distance(one, other, most)?;
    Some(1 + distance)
}

/// Edit distance (insert, delete, replace, swap neighbours), none if it is above `most`.
pub(super) fn distance(one: &str, other: &str, most: usize) -> Option<usize> {
    let (one, other): (Vec<char>, Vec<char>) = (one.chars().collect(), other.chars().collect());
    if one.len().abs_diff(other.len()) > most {
        return None;
    }
    let width = other.len() + 1;
    let mut rows: Vec<Vec<usize>> = vec![(0..width).collect()];
    for (row, letter) in one.iter().enumerate() {
        let mut next = vec![row + 1; width];
        for (column, there) in other.iter().enumerate() {
            let replaced = rows[row][column] + usize::from(letter != there);
            let mut best = replaced.min(rows[row][column + 1] + 1).min(next[column] + 1);
            if row > 0 && column > 0 && one[row - 1] == *there && *letter == other[column - 1] {
                best = best.min(rows[row - 1][column - 1] + 1);
            }
            next[column + 1] = best;
        }
        rows.push(next);
    }
    let distance = rows.last().and_then(|row| row.last()).copied()?;
    (distance <= most).then_some(distance)
}

impl Near {
    /// Sorts nearer ones first; among equals those with more pods.
    pub(super) fn rank(&self, pods: usize) -> (usize, Reverse<usize>) {
        (self.cost, Reverse(pods))
    }

    /// The selector that would match: close pairs replaced, absent ones left out.
    pub(super) fn selector(&self) -> Labels {
        let pair = |(name, value, step): &(Box<str>, Box<str>, Step)| match step {
            Step::Same => Some((name.clone(), value.clone())),
            Step::Close(other, there) => Some((other.clone(), there.clone())),
            Step::Differs(there) => Some((name.clone(), there.clone())),
            Step::Absent => None,
        };
        self.steps.iter().filter_map(pair).collect()
    }

    /// Which pair is wrong and how, one line each.
    pub(super) fn reasons(&self) -> Vec<String> {
        let reason = |(name, value, step): &(Box<str>, Box<str>, Step)| match step {
            Step::Same => None,
            Step::Close(other, there) => Some(format!("{other}={there} instead of {name}={value}")),
            Step::Differs(there) => Some(format!("{name} is {there}, not {value}")),
            Step::Absent => Some(format!("label {name} is absent")),
        };
        self.steps.iter().filter_map(reason).collect()
    }
}
