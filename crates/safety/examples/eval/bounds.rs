//! Exact one-sided 95 % bounds of a share (Clopper–Pearson).

/// Returns the greatest share that `hits` of `of` rules out to be smaller, at 95 %.
pub(crate) fn lower(hits: usize, of: usize) -> f64 {
    if hits == 0 || of == 0 {
        return 0.0;
    }
    bisect(|share| at_least(hits, of, share) < 0.05)
}

/// Returns the smallest share that `hits` of `of` rules out to be greater, at 95 %.
pub(crate) fn upper(hits: usize, of: usize) -> f64 {
    if hits >= of {
        return 1.0;
    }
    bisect(|share| 1.0 - at_least(hits + 1, of, share) > 0.05)
}

/// Finds where `holds` ends to hold, as the share rises.
fn bisect(holds: impl Fn(f64) -> bool) -> f64 {
    let (mut low, mut high) = (0.0, 1.0);
    for _ in 0..60 {
        let middle = f64::midpoint(low, high);
        if holds(middle) {
            low = middle;
        } else {
            high = middle;
        }
    }
    f64::midpoint(low, high)
}

/// Probability of at least `hits` in `of` trials.
fn at_least(hits: usize, of: usize, share: f64) -> f64 {
    let (success, failure) = (share.ln(), (1.0 - share).ln());
    let mut choose = 0.0;
    let mut sum = 0.0;
    for k in 0..=of {
        if k > 0 {
            choose += number(of - k + 1).ln() - number(k).ln();
        }
        if k >= hits {
            sum += (choose + number(k) * success + number(of - k) * failure).exp();
        }
    }
    sum.min(1.0)
}

fn number(count: usize) -> f64 {
    u32::try_from(count).map_or(f64::MAX, f64::from)
}
