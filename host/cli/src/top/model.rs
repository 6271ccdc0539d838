//! The data of the screen: what is known of the host, and what the user selected. It does no input or output. A key may
//! result in a [`Deed`] for the main loop. All results come back through [`Model::learn`].

use super::{keys::Key, source::Failure};
use reslot_control::protocol::{Answer, HeldGeneration, Overview, Request, SlotStatus, Version};
use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

mod page;

pub(super) use page::Page;

/// The lines of a page up or down.
const PAGE: usize = 10;

/// A message from the watcher.
#[derive(Debug)]
pub(super) enum News {
    /// A request for the status was sent.
    Asks,
    /// The status of the host, and of the inspected slot.
    Seen(Box<Overview>, Option<Box<Detail>>),
    /// The connection failed, with the reason.
    Lost(String),
    /// The result of a request.
    Did(Request, Result<Answer, Failure>),
}

/// Details of a slot, which are requested only while it is inspected.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Detail {
    /// The slot's name.
    pub(super) slot: String,
    /// Its history, or why it is unknown.
    pub(super) history: Result<Vec<Version>, String>,
    /// The holders of its generations, or why they are unknown.
    pub(super) held: Result<Vec<HeldGeneration>, String>,
}

/// Work for the main loop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Deed {
    /// Quit the program.
    Quit,
    /// Send this request to the host.
    Ask(Request),
    /// Inspect this slot from now on, or none.
    Inspect(Option<String>),
}

/// The state of the connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Link {
    /// The first answer has not arrived yet.
    New,
    /// The host answers.
    There,
    /// The host does not answer since this time, with the reason.
    Gone(Instant, String),
}

/// A message for the user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Message {
    /// The sentence.
    pub(super) text: String,
    /// Whether it is an error.
    pub(super) bad: bool,
}

/// A rate per second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Rate {
    /// The host does not count them.
    NotCounted,
    /// Unknown, because there is only one sample.
    Unknown,
    /// The rate.
    Of(f64),
}

/// The counters of a slot in one sample.
#[derive(Debug, Clone, Copy)]
struct Counted {
    calls: Option<u64>,
    faults: u64,
}

/// The data of the screen.
#[derive(Debug)]
pub(super) struct Model {
    /// The name of the source, such as the socket's path.
    pub(super) source: String,
    pub(super) link: Link,
    /// The last status, also when the host is gone.
    pub(super) overview: Option<Overview>,
    pub(super) message: Option<Message>,
    pub(super) page: Page,
    /// When the pending request for the status was sent.
    asked: Option<Instant>,
    /// Calls and faults per second.
    rates: HashMap<String, (Rate, Rate)>,
    /// The index and the name of the selected slot.
    selected: (usize, Option<String>),
}

impl Model {
    /// An empty model for the host at `source`.
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

    /// How long the pending request for the status has taken.
    pub(super) fn waits_since(&self, now: Instant) -> Duration {
        self.asked
            .map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }

    /// The slots of the last status.
    pub(super) fn slots(&self) -> &[SlotStatus] {
        self.overview.as_ref().map_or(&[], |overview| &overview.slots)
    }

    /// The index of the selected slot.
    pub(super) fn selected(&self) -> usize {
        self.selected.0
    }

    /// The slot that keys act on: the inspected one, even if it does not exist any more, or the selected one.
    pub(super) fn target(&self) -> Option<&str> {
        match &self.page {
            Page::Inspect { slot, .. } => Some(slot),
            _ => self.selected.1.as_deref(),
        }
    }

    /// Calls and faults per second.
    pub(super) fn rates(&self, slot: &str) -> (Rate, Rate) {
        self.rates.get(slot).copied().unwrap_or((Rate::Unknown, Rate::Unknown))
    }

    /// Processes a message.
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
            before.host_id == overview.host_id
                && before.process == overview.process
                && before.program == overview.program
                && before.uptime_ms <= overview.uptime_ms
        });
        let back = match &self.link {
            Link::Gone(..) if same => Some("The host answers again."),
            _ if before.is_some() && !same => Some("This is another host than before."),
            Link::Gone(..) => Some("The host is running."),
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

    /// Computes rates. The time between two samples is measured by the host's clock, because the arrival of answers is
    /// delayed.
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

    /// Keeps the same slot selected if it moved; if it is gone, selects the slot at its index.
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

    /// Processes a key.
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

    /// Limits the scroll position to what was drawn. A page that was scrolled to its end stays at the end when it grows.
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
            text: "There is no slot yet: publish an artifact into the folder.".to_owned(),
            bad: true,
        });
    }
}

fn rate(before: u64, now: u64, seconds: f64) -> Rate {
    // A counter that was reset gives no rate until the next sample.
    #[expect(clippy::cast_precision_loss, reason = "two digits are shown")]
    now.checked_sub(before)
        .map_or(Rate::Unknown, |many| Rate::Of(many as f64 / seconds))
}

/// The request in words.
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
            text: format!("{name}: the host's answer does not fit the request."),
            bad: true,
        },
        Err(Failure::Refused(refused)) => Message {
            text: refused.message,
            bad: true,
        },
        Err(Failure::Gone(why)) => Message {
            text: format!("{name}: it is unknown whether it happened: {why}"),
            bad: true,
        },
    }
}

#[cfg(test)]
mod tests;
