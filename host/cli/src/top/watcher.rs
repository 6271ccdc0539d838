//! Two threads beside the screen. One requests the host's status periodically, and reconnects if the connection breaks. The
//! other one sends the user's requests, which may take long. Both send messages over a channel and wake the screen.

use super::{
    model::{Detail, News},
    source::{Connection, Failure, Source},
};
use reslot_control::protocol::{Answer, Overview, Request};
use std::{
    io,
    sync::{
        Arc,
        mpsc::{self, Receiver, RecvTimeoutError, Sender, SyncSender, TrySendError},
    },
    thread,
    time::Duration,
};

/// The highest number of messages that wait for the screen. If the channel is full, the watcher waits.
const NEWS: usize = 16;
/// The highest number of waiting requests.
const DEEDS: usize = 8;

/// The two threads. They end after this and the channel are dropped; nothing waits for them.
pub(super) struct Watcher {
    looks: Sender<Look>,
    deeds: SyncSender<Request>,
}

/// A command for the first thread.
enum Look {
    /// Request the status at once.
    Now,
    /// Request details of this slot from now on, or of none.
    Inspect(Option<String>),
}

/// The screen's channel, and the function that wakes it.
#[derive(Clone)]
struct Screen {
    news: SyncSender<News>,
    wake: Arc<dyn Fn() + Send + Sync>,
}

impl Screen {
    /// Sends a message. False if the screen has ended.
    fn send(&self, news: News) -> bool {
        let is_open = self.news.send(news).is_ok();
        (self.wake)();
        is_open
    }
}

impl Watcher {
    /// Starts the threads. The first request is sent at once, then one after each interval.
    ///
    /// # Errors
    /// If the threads cannot be started.
    pub(super) fn start(
        source: Arc<dyn Source>,
        interval: Duration,
        wake: Arc<dyn Fn() + Send + Sync>,
    ) -> io::Result<(Self, Receiver<News>)> {
        let (news, learned) = mpsc::sync_channel(NEWS);
        let (looks, look) = mpsc::channel();
        let (deeds, deed) = mpsc::sync_channel(DEEDS);
        let screen = Screen { news, wake };
        let (also, from, again) = (screen.clone(), Arc::clone(&source), looks.clone());
        thread::Builder::new()
            .name("look".to_owned())
            .spawn(move || look_on(&*from, interval, &also, &look))?;
        thread::Builder::new()
            .name("act".to_owned())
            .spawn(move || act_on(&*source, &screen, &deed, &again))?;
        Ok((Self { looks, deeds }, learned))
    }

    /// Sends a request. If too many wait already, it returns the request.
    pub(super) fn ask(&self, request: Request) -> Result<(), Request> {
        self.deeds.try_send(request).map_err(|full| match full {
            TrySendError::Full(request) | TrySendError::Disconnected(request) => request,
        })
    }

    /// Requests details of this slot from now on, or of none.
    pub(super) fn inspect(&self, slot: Option<String>) {
        // An ended thread is noticed by its closed channel.
        let _ = self.looks.send(Look::Inspect(slot));
    }
}

fn look_on(source: &dyn Source, interval: Duration, screen: &Screen, looks: &Receiver<Look>) {
    let mut connection = None;
    let mut inspected: Option<String> = None;
    loop {
        if !screen.send(News::Asks) {
            return;
        }
        let seen = connected(source, &mut connection).and_then(|host| {
            let overview = overview(host)?;
            let detail = inspected.as_deref().map(|slot| detail(host, slot)).transpose()?;
            Ok(News::Seen(Box::new(overview), detail.map(Box::new)))
        });
        let news = seen.unwrap_or_else(|why| {
            connection = None;
            News::Lost(why)
        });
        if !screen.send(news) {
            return;
        }
        match looks.recv_timeout(interval) {
            Ok(Look::Inspect(slot)) => inspected = slot,
            Ok(Look::Now) | Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

fn connected<'a>(
    source: &dyn Source,
    connection: &'a mut Option<Box<dyn Connection>>,
) -> Result<&'a mut dyn Connection, String> {
    let connection = match connection {
        Some(connection) => connection,
        None => connection.insert(source.connect()?),
    };
    Ok(&mut **connection)
}

/// The answer, or a refusal. All other errors end the connection.
fn answer(host: &mut dyn Connection, request: &Request) -> Result<Result<Answer, String>, String> {
    match host.ask(request) {
        Ok(answer) => Ok(Ok(answer)),
        Err(Failure::Refused(refused)) => Ok(Err(refused.message)),
        Err(Failure::Gone(why)) => Err(why),
    }
}

fn overview(host: &mut dyn Connection) -> Result<Overview, String> {
    match answer(host, &Request::Overview)?? {
        Answer::Overview(overview) => Ok(*overview),
        _ => Err("the host's answer does not fit the request".to_owned()),
    }
}

fn detail(host: &mut dyn Connection, slot: &str) -> Result<Detail, String> {
    let other = || "the host's answer does not fit the request".to_owned();
    let history = match answer(host, &Request::History { slot: slot.to_owned() })? {
        Ok(Answer::History { versions }) => Ok(versions),
        Ok(_) => Err(other()),
        Err(why) => Err(why),
    };
    let held = match answer(host, &Request::WhoHolds { slot: slot.to_owned() })? {
        Ok(Answer::Holders { generations }) => Ok(generations),
        Ok(_) => Err(other()),
        Err(why) => Err(why),
    };
    Ok(Detail {
        slot: slot.to_owned(),
        history,
        held,
    })
}

fn act_on(source: &dyn Source, screen: &Screen, deeds: &Receiver<Request>, looks: &Sender<Look>) {
    while let Ok(request) = deeds.recv() {
        // Each request has its own connection. A kept one may have broken unnoticed, and then the result of the request
        // would be unknown.
        let answer = source
            .connect()
            .map_err(Failure::Gone)
            .and_then(|mut host| host.ask(&request));
        if !screen.send(News::Did(request, answer)) {
            return;
        }
        let _ = looks.send(Look::Now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::top::samples::{bare, host};
    use reslot_control::protocol::{ErrorKind, Refused};
    use std::sync::Mutex;

    /// A test host that returns these answers in order and counts connections.
    struct Script(Mutex<Vec<Result<Answer, Failure>>>, Mutex<usize>);

    struct Line(Arc<Script>);

    struct Scripted(Arc<Script>);

    impl Source for Scripted {
        fn name(&self) -> String {
            "script".to_owned()
        }

        fn connect(&self) -> Result<Box<dyn Connection>, String> {
            *self.0.1.lock().expect("nobody panics") += 1;
            Ok(Box::new(Line(Arc::clone(&self.0))))
        }
    }

    impl Connection for Line {
        fn ask(&mut self, _: &Request) -> Result<Answer, Failure> {
            let mut script = self.0.0.lock().expect("nobody panics");
            if script.is_empty() {
                Err(Failure::Gone("the script is at its end".to_owned()))
            } else {
                script.remove(0)
            }
        }
    }

    fn start(script: Vec<Result<Answer, Failure>>) -> (Arc<Script>, Watcher, Receiver<News>) {
        let script = Arc::new(Script(Mutex::new(script), Mutex::new(0)));
        let source = Arc::new(Scripted(Arc::clone(&script)));
        let (watcher, news) = Watcher::start(source, Duration::from_millis(1), Arc::new(|| {})).expect("threads");
        (script, watcher, news)
    }

    fn seen() -> Result<Answer, Failure> {
        Ok(Answer::Overview(Box::new(host(vec![bare("a")]))))
    }

    #[test]
    fn a_host_that_is_gone_is_connected_to_again() {
        let gone = || Err(Failure::Gone("it hung up".to_owned()));
        let (script, _watcher, news) = start(vec![seen(), gone(), gone(), seen(), seen()]);
        let next = || {
            assert!(matches!(news.recv(), Ok(News::Asks)));
            news.recv().expect("the thread lives")
        };
        assert!(matches!(next(), News::Seen(..)));
        assert!(matches!(next(), News::Lost(why) if why == "it hung up"));
        assert!(matches!(next(), News::Lost(_)));
        assert!(matches!(next(), News::Seen(..)));
        assert!(matches!(next(), News::Seen(..)));
        assert!(*script.1.lock().expect("nobody panics") >= 3);
    }

    #[test]
    fn a_slot_that_is_unknown_by_now_costs_no_look() {
        let refused = || {
            Err(Failure::Refused(Refused {
                kind: ErrorKind::UnknownSlot,
                message: "no slot \"a\"".to_owned(),
            }))
        };
        let many: Vec<_> = (0..100).flat_map(|_| [seen(), refused(), refused()]).collect();
        let mut connection: Box<dyn Connection> = Box::new(Line(Arc::new(Script(Mutex::new(many), Mutex::new(0)))));
        assert!(overview(&mut *connection).is_ok());
        let detail = detail(&mut *connection, "a").expect("the connection holds");
        assert_eq!(
            (detail.history, detail.held),
            (Err("no slot \"a\"".to_owned()), Err("no slot \"a\"".to_owned()))
        );
    }

    #[test]
    fn an_answer_to_something_else_is_no_look() {
        let (_, _watcher, news) = start(vec![Ok(Answer::History { versions: Vec::new() })]);
        assert!(matches!(news.recv(), Ok(News::Asks)));
        assert!(matches!(news.recv(), Ok(News::Lost(why)) if why.contains("does not fit the request")));
    }

    #[test]
    fn requests_beyond_the_queue_are_returned() {
        let (deeds, _never_read) = mpsc::sync_channel(DEEDS);
        let watcher = Watcher {
            looks: mpsc::channel().0,
            deeds,
        };
        let request = || Request::Confirm { slot: "a".to_owned() };
        for _ in 0..DEEDS {
            assert_eq!(watcher.ask(request()), Ok(()));
        }
        assert_eq!(watcher.ask(request()), Err(request()));
        watcher.inspect(None);
    }
}
