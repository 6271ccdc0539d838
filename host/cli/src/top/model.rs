//! What is known of a host, and what was chosen with keys: nothing here draws, waits or asks. A key may lead to something that has to
//! be done, a [`Deed`], which is answered like everything else that is learned: by [`Model::learn`].

use super::{keys::Key, source::Failure};
use reslot_control::protocol::{Answer, HeldGeneration, Overview, Request, SlotStatus, Version};
use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

mod page;

pub(super) use page::Page;

/// How far a page up or down goes.
const PAGE: usize = 10;

/// Something that was learned.
#[derive(Debug)]
pub(super) enum News {
    /// The host is asked for a look.
    Asks,
    /// The host, and the slot that is inspected, if one is.
    Seen(Box<Overview>, Option<Box<Detail>>),
    /// The host cannot be asked: why.
    Lost(String),
    /// A request was answered, or not.
    Did(Request, Result<Answer, Failure>),
}

/// What is asked about a slot only while it is looked at.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Detail {
    /// The slot's name.
    pub(super) slot: String,
    /// Its history, or why it is not known.
    pub(super) history: Result<Vec<Version>, String>,
    /// Who holds its generations, or why that is not known.
    pub(super) held: Result<Vec<HeldGeneration>, String>,
}

/// Something to be done outside of here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Deed {
    /// End.
    Quit,
    /// Ask the host for it.
    Ask(Request),
    /// From now on look at this slot more closely, or at none.
    Inspect(Option<String>),
}

/// Whether the host can be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Link {
    /// It was not yet answered.
    New,
    /// It answers.
    There,
    /// It does not, since then, and why.
    Gone(Instant, String),
}

/// A line for the person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Message {
    /// The sentence.
    pub(super) text: String,
    /// Whether something is wrong.
    pub(super) bad: bool,
}

/// Events a second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Rate {
    /// The host does not count them.
    NotCounted,
    /// There was one look only.
    Unknown,
    /// So many.
    Of(f64),
}

/// What a slot had counted at a look.
#[derive(Debug, Clone, Copy)]
struct Counted {
    calls: Option<u64>,
    faults: u64,
}

/// What is known, and what was chosen.
#[derive(Debug)]
pub(super) struct Model {
    /// What is looked for.
    pub(super) source: String,
    pub(super) link: Link,
    /// The last look, also when the host is gone.
    pub(super) overview: Option<Overview>,
    pub(super) message: Option<Message>,
    pub(super) page: Page,
    /// Since when a look is waited for.
    asked: Option<Instant>,
    /// Calls and faults a second.
    rates: HashMap<String, (Rate, Rate)>,
    /// The place in the overview, and the name there.
    selected: (usize, Option<String>),
}

impl Model {
    /// Nothing is known yet of what `source` names.
    pub(super) fn new(source: String) -> Self {
        let selected = (0, None);
        Self {
            source,
            link: Link::New,
            overview: None,
            message: None,
            page: Page::Slots,
            asked: None,
            rates: HashMap::new(),
            selected,
        }
    }

    /// For how long a look is waited for.
    pub(super) fn waits_since(&self, now: Instant) -> Duration {
        self.asked
            .map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }

    /// The slots of the last look.
    pub(super) fn slots(&self) -> &[SlotStatus] {
        self.overview.as_ref().map_or(&[], |overview| &overview.slots)
    }

    /// The place of the selected slot.
    pub(super) fn selected(&self) -> usize {
        self.selected.0
    }

    /// The slot that keys are about: the one that is inspected, even if it is gone, or the selected one.
    pub(super) fn target(&self) -> Option<&str> {
        match &self.page {
            Page::Inspect { slot, .. } => Some(slot),
            _ => self.selected.1.as_deref(),
        }
    }

    /// Calls and faults a second.
    pub(super) fn rates(&self, slot: &str) -> (Rate, Rate) {
        self.rates.get(slot).copied().unwrap_or((Rate::Unknown, Rate::Unknown))
    }

    /// Takes in something that was learned.
    pub(super) fn learn(&mut self, news: News, now: Instant) {
        match &news {
            News::Asks => self.asked = Some(now),
            News::Seen(..) | News::Lost(_) => self.asked = None,
            News::Did(..) => {}
        }
        match news {
            News::Asks => {}
            News::Seen(overview, detail) => self.see(*overview, detail),
            News::Lost(why) => match &mut self.link {
                Link::Gone(_, before) => *before = why,
                _ => self.link = Link::Gone(now, why),
            },
            News::Did(request, answer) => self.message = Some(outcome(&request, answer)),
        }
    }

    fn see(&mut self, overview: Overview, detail: Option<Box<Detail>>) {
        let before = self.overview.take();
        let same = before.as_ref().is_some_and(|before| {
            before.process == overview.process
                && before.program == overview.program
                && before.uptime_ms <= overview.uptime_ms
        });
        let back = match &self.link {
            Link::Gone(..) if same => Some("The host answers again."),
            _ if before.is_some() && !same => Some("This is another host than before."),
            Link::Gone(..) => Some("The host is there."),
            _ => None,
        };
        if let Some(text) = back {
            self.message = Some(Message {
                text: text.to_owned(),
                bad: false,
            });
        }
        self.link = Link::There;
        self.count(before.filter(|_| same).as_ref(), &overview);
        self.select_again(&overview.slots);
        if let (Page::Inspect { slot, detail: kept, .. }, Some(detail)) = (&mut self.page, detail)
            && detail.slot == *slot
        {
            *kept = Some(detail);
        }
        self.overview = Some(overview);
    }

    /// The host's own clock says how much time lies between two looks: what lies between their arrivals is something else.
    fn count(&mut self, before: Option<&Overview>, now: &Overview) {
        let elapsed = before.map_or(0, |before| now.uptime_ms - before.uptime_ms);
        if before.is_some() && elapsed == 0 {
            return;
        }
        let counted = |slot: &SlotStatus| Counted {
            calls: slot.calls,
            faults: slot.faults,
        };
        let earlier = before.map_or(&[][..], |before| &before.slots);
        let earlier: HashMap<_, _> = earlier.iter().map(|slot| (slot.name.as_str(), counted(slot))).collect();
        let elapsed = Duration::from_millis(elapsed).as_secs_f64();
        let rates = now.slots.iter().map(|slot| {
            let earlier = earlier.get(slot.name.as_str());
            let calls = match (slot.calls, earlier.map(|counted| counted.calls)) {
                (None, _) => Rate::NotCounted,
                (Some(now), Some(Some(before))) => rate(before, now, elapsed),
                _ => Rate::Unknown,
            };
            let faults = earlier.map_or(Rate::Unknown, |counted| rate(counted.faults, slot.faults, elapsed));
            (slot.name.clone(), (calls, faults))
        });
        self.rates = rates.collect();
    }

    /// What was selected stays selected where it is now; if it is gone, what stands in its place is.
    fn select_again(&mut self, slots: &[SlotStatus]) {
        let (place, name) = &self.selected;
        let is_it = |slot: &SlotStatus| Some(&slot.name) == name.as_ref();
        let place = match slots.get(*place) {
            Some(slot) if is_it(slot) => *place,
            _ => slots.iter().position(is_it).unwrap_or(*place),
        };
        self.select(slots, place);
    }

    fn select(&mut self, slots: &[SlotStatus], place: usize) {
        let place = place.min(slots.len().saturating_sub(1));
        self.selected = (place, slots.get(place).map(|slot| slot.name.clone()));
    }

    /// Takes a key.
    pub(super) fn press(&mut self, key: Key) -> Option<Deed> {
        if key == Key::Interrupt {
            return Some(Deed::Quit);
        }
        if let Page::Asking { slot, back } = &mut self.page {
            let slot = std::mem::take(slot);
            self.page = *std::mem::take(back);
            if key == Key::Char('y') {
                return Some(self.ask(Request::Rollback { slot, to: None }));
            }
            self.message = Some(Message {
                text: "Nothing was rolled back.".to_owned(),
                bad: false,
            });
            return None;
        }
        if matches!(self.page, Page::Help) && key != Key::Char('q') {
            self.page = Page::Slots;
            return None;
        }
        match key {
            Key::Char('q') => return Some(Deed::Quit),
            Key::Char('r') => return self.about_slot(|target| Request::Reload { target }),
            Key::Char('c') => return self.about_slot(|slot| Request::Confirm { slot }),
            Key::Char('b') => match self.target().map(str::to_owned) {
                Some(slot) => {
                    self.page = Page::Asking {
                        slot,
                        back: Box::new(std::mem::take(&mut self.page)),
                    }
                }
                None => self.no_slot(),
            },
            Key::Char('?') if matches!(self.page, Page::Slots) => self.page = Page::Help,
            Key::Enter if matches!(self.page, Page::Slots) => match self.target().map(str::to_owned) {
                Some(slot) => {
                    self.page = Page::Inspect {
                        slot: slot.clone(),
                        detail: None,
                        scroll: 0,
                        end: 0,
                    };
                    return Some(Deed::Inspect(Some(slot)));
                }
                None => self.no_slot(),
            },
            Key::Escape => {
                let left = std::mem::take(&mut self.page);
                self.message = None;
                return matches!(left, Page::Inspect { .. }).then_some(Deed::Inspect(None));
            }
            _ => self.walk(key),
        }
        None
    }

    fn walk(&mut self, key: Key) {
        let by = |place: usize| match key {
            Key::Up | Key::Char('k') => place.saturating_sub(1),
            Key::Down | Key::Char('j') => place.saturating_add(1),
            Key::PageUp => place.saturating_sub(PAGE),
            Key::PageDown => place.saturating_add(PAGE),
            Key::Home | Key::Char('g') => 0,
            Key::End | Key::Char('G') => usize::MAX,
            _ => place,
        };
        if let Page::Inspect { scroll, end, .. } = &mut self.page {
            *scroll = by((*scroll).min(*end));
        } else {
            let slots = self.overview.take();
            self.select(slots.as_ref().map_or(&[], |overview| &overview.slots), by(self.selected.0));
            self.overview = slots;
        }
    }

    /// Whoever draws knows how far there is to scroll, and says so. Further is not remembered, but for the very end: whoever went there
    /// stays there when more comes.
    pub(super) fn scroll_ends_at(&mut self, last: usize) {
        if let Page::Inspect { scroll, end, .. } = &mut self.page {
            *end = last;
            if *scroll != usize::MAX {
                *scroll = (*scroll).min(last);
            }
        }
    }

    fn about_slot(&mut self, request: impl FnOnce(String) -> Request) -> Option<Deed> {
        let Some(slot) = self.target().map(str::to_owned) else {
            self.no_slot();
            return None;
        };
        Some(self.ask(request(slot)))
    }

    fn ask(&mut self, request: Request) -> Deed {
        self.message = Some(Message {
            text: format!("{} …", name(&request)),
            bad: false,
        });
        Deed::Ask(request)
    }

    fn no_slot(&mut self) {
        self.message = Some(Message {
            text: "There is no slot yet: put an artifact into the folder.".to_owned(),
            bad: true,
        });
    }
}

fn rate(before: u64, now: u64, seconds: f64) -> Rate {
    // A counter that began again tells nothing until the next look.
    #[expect(clippy::cast_precision_loss, reason = "two digits are shown")]
    now.checked_sub(before)
        .map_or(Rate::Unknown, |many| Rate::Of(many as f64 / seconds))
}

/// What is asked for, in words.
fn name(request: &Request) -> String {
    match request {
        Request::Reload { target } => format!("Reloading {target}"),
        Request::Rollback { slot, .. } => format!("Rolling {slot} back"),
        Request::Confirm { slot } => format!("Confirming {slot}"),
        _ => "Asking".to_owned(),
    }
}

fn outcome(request: &Request, answer: Result<Answer, Failure>) -> Message {
    let name = name(request);
    match answer {
        Ok(Answer::Done { message, .. }) => Message {
            text: message,
            bad: false,
        },
        Ok(_) => Message {
            text: format!("{name}: the host answered something else."),
            bad: true,
        },
        Err(Failure::Refused(refused)) => Message {
            text: refused.message,
            bad: true,
        },
        Err(Failure::Gone(why)) => Message {
            text: format!("{name}: not known whether it happened: {why}"),
            bad: true,
        },
    }
}

#[cfg(test)]
mod tests;
