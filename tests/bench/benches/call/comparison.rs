//! Several ways to call, measured in interleaved rounds.

use reslot_bench::{Samples, only_a_test};
use std::cell::RefCell;

/// So many rounds of each way.
const ROUNDS: usize = 41;
/// A round of a way takes about so long, in nanoseconds: short, so that many fit, and what disturbs strikes few of them.
const ROUND: f64 = 6e6;

/// One way to call.
pub struct Way<'a> {
    pub name: String,
    /// Nanoseconds a call, of so many calls.
    pub run: RefCell<Box<dyn FnMut(u64) -> f64 + 'a>>,
    calls: u64,
    pub samples: Samples,
    /// What a reader must know besides.
    pub note: Option<&'static str>,
}

/// All the ways that are compared.
#[derive(Default)]
pub struct Comparison<'a> {
    pub ways: Vec<Way<'a>>,
    /// Ways that cannot do this, and why.
    pub cannot: Vec<(&'static str, &'static str)>,
}

impl<'a> Comparison<'a> {
    pub fn new() -> Self {
        Self::default()
    }

    /// One more: `run` answers the nanoseconds a call, of so many calls.
    pub fn way(&mut self, name: impl Into<String>, run: impl FnMut(u64) -> f64 + 'a) -> &mut Way<'a> {
        self.ways.push(Way {
            name: name.into(),
            run: RefCell::new(Box::new(run)),
            calls: 1,
            samples: Samples::new(),
            note: None,
        });
        self.ways.last_mut().expect("it was pushed")
    }

    /// A way that cannot do this, and why.
    #[cfg_attr(not(feature = "peers"), allow(dead_code, reason = "only peers cannot"))]
    pub fn cannot(&mut self, name: &'static str, why: &'static str) {
        self.cannot.push((name, why));
    }

    /// Measures all of them, round by round; in each round another one begins, so that none always follows the same.
    pub fn measure(&mut self) {
        let (rounds, round) = if only_a_test() { (2, 2e4) } else { (ROUNDS, ROUND) };
        for way in &mut self.ways {
            way.calls = way.calls_in(round);
        }
        for at in 0..rounds {
            let count = self.ways.len();
            for way in 0..count {
                let way = &mut self.ways[(way + at) % count];
                let nanos = (way.run.borrow_mut())(way.calls);
                way.samples.push(nanos);
            }
        }
    }

    /// The samples of the way of that name.
    pub fn samples(&self, name: &str) -> &Samples {
        let way = self.ways.iter().find(|way| way.name == name);
        &way.unwrap_or_else(|| panic!("{name} is measured")).samples
    }
}

impl Way<'_> {
    #[cfg_attr(not(feature = "peers"), allow(dead_code, reason = "only peers need one"))]
    pub fn note(&mut self, note: &'static str) {
        self.note = Some(note);
    }

    /// How many calls take about so many nanoseconds; also what warms it up.
    fn calls_in(&self, nanos: f64) -> u64 {
        let mut calls = 16;
        loop {
            let each = (self.run.borrow_mut())(calls);
            let took = each * calls as f64;
            if took > nanos / 4.0 {
                return ((nanos / each) as u64).max(1);
            }
            calls *= 2;
        }
    }
}
