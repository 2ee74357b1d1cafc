//! Kinds of runs of digits: phone numbers, lists, times, dates, amounts.

use protocol::Country;

use super::{Gap, Group, Run};
use crate::resources::is_known_number_in;

/// Number of groups from `from` on that make a known number, the longest. A short one stands alone, or between
/// slashes, commas and brackets: it may be part of a longer number otherwise.
pub(super) fn known(groups: &[Group], from: usize, country: Option<Country>) -> Option<usize> {
    let apart = |index: usize| {
        groups.get(index).is_none_or(|group| matches!(group.before, Gap::Slash | Gap::Comma | Gap::Bracket))
    };
    (1..=(groups.len() - from).min(8)).rev().find(|&len| {
        let digits: String = groups[from..from + len].iter().map(|group| group.digits.as_str()).collect();
        let alone = (from == 0 || apart(from)) && apart(from + len);
        digits.len() >= 3 && is_known_number_in(&digits, country) && (digits.len() >= 7 || alone)
    })
}

pub(super) fn is_short(groups: &[Group]) -> bool {
    let total: usize = groups.iter().map(|group| group.digits.len()).sum();
    let singles = groups.iter().all(|group| group.digits.len() == 1);
    let same = groups.windows(2).all(|pair| pair[0].digits == pair[1].digits);
    match groups {
        [group] => (3..=6).contains(&total) && !group.digits.starts_with("000"),
        _ => {
            (3..=6).contains(&total)
                && (singles && (same || !is_counting(groups))
                    || groups.iter().all(|group| group.digits.len() >= 2)
                    || groups.iter().any(|group| group.digits.len() >= 3))
        }
    }
}

pub(super) fn is_phone(groups: &[Group], run: Run) -> bool {
    let Run { plus, money, calls, counts, short, country: _ } = run;
    let total: usize = groups.iter().map(|group| group.digits.len()).sum();
    let longest = groups.iter().map(|group| group.digits.len()).max().unwrap_or(0);
    if !(7..=40).contains(&total) || is_counting(groups) || is_date(groups) || is_years(groups) {
        return false;
    }
    if !plus && (money || is_amount(groups, total)) {
        return false;
    }
    if !plus && counts && 2 <= groups.len() && is_list(groups) && is_rising(groups) {
        return false;
    }
    let commas = groups.iter().skip(1).any(|group| group.before == Gap::Comma);
    let listed = commas && !groups.iter().all(|group| group.spelled);
    // `11, 4555, 1234`: only the first may be short, or all where they are to be called.
    if listed && !calls && (groups.iter().skip(1).any(|group| group.digits.len() < 3) || is_years(&groups[1..])) {
        return false;
    }
    // Times and lists have no group of three; a number spelled digit by digit has none either.
    plus || longest >= 3 || groups.len() == total || pairs(groups) || short && !counts && 4 <= groups.len()
}

/// `10, 20`, `100`, `1000, 2000`: with the next word they may count something.
pub(super) fn is_list(groups: &[Group]) -> bool {
    groups.iter().all(|group| group.digits.len() <= 4) && groups.iter().skip(1).all(|group| group.before == Gap::Comma)
}

/// `50, 100, 250`, `90, 60`: rising or falling, as counts are.
pub(super) fn is_rising(groups: &[Group]) -> bool {
    let values: Vec<u32> = groups.iter().filter_map(|group| group.digits.parse().ok()).collect();
    let one_length = groups.windows(2).all(|pair| pair[0].digits.len() == pair[1].digits.len());
    let one_way = values.windows(2).all(|pair| pair[0] < pair[1]) || values.windows(2).all(|pair| pair[0] > pair[1]);
    one_way && (one_length || 3 <= groups.len())
}

/// `11` and `4555`, `1234` behind words or line breaks that join them to one number.
pub(super) fn is_in_parts(groups: &[Group], run: Run) -> bool {
    let Run { calls, country, .. } = run;
    let total: usize = groups.iter().map(|group| group.digits.len()).sum();
    let known = groups.iter().any(|group| group.digits.len() >= 3 && is_known_number_in(&group.digits, country));
    let lines = groups.iter().all(|group| !group.spelled && group.before != Gap::Word);
    let least = if calls { 6 } else { 8 };
    (least..=20).contains(&total)
        && (calls || lines)
        && !known
        && groups.iter().any(|group| group.digits.len() >= 3)
        && !groups.iter().any(|group| is_years(std::slice::from_ref(group)))
        && !is_counting(groups)
}

/// `1830`, `18 30`, `730`.
pub(super) fn is_time(groups: &[Group]) -> bool {
    let digits: String = groups.iter().map(|group| group.digits.as_str()).collect();
    let time = digits.parse::<u32>().ok().filter(|_| matches!(digits.len(), 3 | 4));
    time.is_some_and(|time| time / 100 < 25 && time % 100 < 60)
}

/// `11 52 75 11 35`: pairs without commas.
fn pairs(groups: &[Group]) -> bool {
    groups.len() >= 4
        && groups.iter().all(|group| group.digits.len() <= 2)
        && groups.iter().skip(1).all(|group| group.before != Gap::Comma)
}

/// `1-2-3-4`, `5 4 3 2 1`, `4-4-4-4`, `4-7-8`, `10 20 30`.
fn is_counting(groups: &[Group]) -> bool {
    let values: Vec<i64> = groups.iter().filter_map(|group| group.digits.parse().ok()).collect();
    if values.len() < 3 || groups.iter().any(|group| group.digits.len() > 3) {
        return false;
    }
    let steps: Vec<i64> = values.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let even = steps.windows(2).all(|pair| pair[0] == pair[1]);
    let breath = values.len().is_multiple_of(3) && values.chunks(3).all(|three| three == [4, 7, 8]);
    even && steps.first().is_some_and(|step| step.abs() <= 10) || breath
}

fn is_date(groups: &[Group]) -> bool {
    let lengths: Vec<usize> = groups.iter().map(|group| group.digits.len()).collect();
    let gap = groups.get(1).map(|group| group.before);
    let same = groups.iter().skip(1).all(|group| Some(group.before) == gap && group.before != Gap::Blank);
    let values: Vec<u32> = groups.iter().filter_map(|group| group.digits.parse().ok()).collect();
    let [year, one, other] = match (&lengths[..], &values[..]) {
        ([1 | 2, 1 | 2, 4], &[one, other, year]) | ([4, 1 | 2, 1 | 2], &[year, one, other]) => [year, one, other],
        _ => return false,
    };
    same && (1900..2100).contains(&year) && one.min(other) <= 12 && one.max(other) <= 31
}

/// `2019-2024`, `2019 2020 2021`.
fn is_years(groups: &[Group]) -> bool {
    groups
        .iter()
        .all(|group| group.digits.len() == 4 && (group.digits.starts_with("19") || group.digits.starts_with("20")))
}

/// `1.500.000`, `1,500,000`, `10000000`.
fn is_amount(groups: &[Group], total: usize) -> bool {
    match groups {
        [group] => group.digits.ends_with("0000"),
        [first, rest @ ..] => {
            let gap = rest.first().map(|group| group.before);
            total <= 8
                && first.digits.len() <= 3
                && rest.iter().all(|group| group.digits.len() == 3 && Some(group.before) == gap)
                && matches!(gap, Some(Gap::Dot | Gap::Comma))
        }
        [] => false,
    }
}
