//! Computes one figure from many rounds. The rounds of all compared things are interleaved, so the same index in two
//! rows is the same time. Changes of the machine then affect both, and the ratio of the two, round by round, varies
//! less than either.

use std::time::Duration;

/// The figures of the rounds, in the order in which they were made.
#[derive(Clone, Debug, Default)]
pub struct Samples(Vec<f64>);

impl Samples {
    /// No rounds yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// One more round.
    pub fn push(&mut self, figure: f64) {
        self.0.push(figure);
    }

    /// How many rounds there were.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there was none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Each round, divided by the same round of `base`. Where one has fewer, by its median.
    #[must_use]
    pub fn over(&self, base: &Samples) -> Samples {
        if self.len() == base.len() {
            return self.0.iter().zip(&base.0).map(|(this, that)| this / that).collect();
        }
        let that = base.median();
        self.0.iter().map(|this| this / that).collect()
    }

    /// What each round took more than the same round of `base`. Where one has fewer, than its median.
    #[must_use]
    pub fn less(&self, base: &Samples) -> Samples {
        if self.len() == base.len() {
            return self.0.iter().zip(&base.0).map(|(this, that)| this - that).collect();
        }
        let that = base.median();
        self.0.iter().map(|this| this - that).collect()
    }

    /// The figure below which this share of the rounds lies; NaN without rounds.
    #[must_use]
    pub fn quantile(&self, at: f64) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let index = (sorted.len().saturating_sub(1) as f64 * at).round() as usize;
        sorted.get(index).copied().unwrap_or(f64::NAN)
    }

    /// The figure in the middle.
    #[must_use]
    pub fn median(&self) -> f64 {
        self.quantile(0.5)
    }

    /// Between which figures the middle half of the rounds lies.
    #[must_use]
    pub fn quarters(&self) -> (f64, f64) {
        (self.quantile(0.25), self.quantile(0.75))
    }
}

impl FromIterator<f64> for Samples {
    fn from_iter<T: IntoIterator<Item = f64>>(figures: T) -> Self {
        Self(figures.into_iter().collect())
    }
}

/// In microseconds.
#[must_use]
pub fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

/// In milliseconds.
#[must_use]
pub fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_is_taken_round_by_round() {
        let this: Samples = [2.0, 40.0, 6.0].into_iter().collect();
        let base: Samples = [1.0, 20.0, 2.0].into_iter().collect();
        let ratios = this.over(&base);
        assert_eq!((ratios.median(), ratios.quarters()), (2.0, (2.0, 3.0)));
        assert_eq!(
            this.over(&[2.0].into_iter().collect()).median(),
            3.0,
            "6 is in the middle, over the only round"
        );
        assert!(Samples::new().median().is_nan());
    }
}
