//! A subscriber for the whole process: it records events, acts as a test requests, and filters like an embedder's
//! subscriber.

use std::{
    cell::Cell,
    collections::BTreeMap,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};
use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
};
use tracing_subscriber::{
    EnvFilter, Layer,
    layer::{Context, SubscriberExt},
    registry::LookupSpan,
    reload,
};

/// A recorded event.
#[derive(Debug, Clone)]
pub struct Told {
    pub metadata: &'static Metadata<'static>,
    pub fields: Fields,
    /// The spans around it, the outermost first.
    pub spans: Vec<(String, Fields)>,
}

impl Told {
    pub fn level(&self) -> Level {
        *self.metadata.level()
    }

    pub fn words(&self) -> &str {
        self.fields.0.get("message").map_or("", String::as_str)
    }

    pub fn is_from(&self, slot: &str) -> bool {
        self.fields.0.get("slot").is_some_and(|of| of == slot)
    }

    pub fn span_names(&self) -> Vec<&str> {
        self.spans.iter().map(|(name, _)| name.as_str()).collect()
    }
}

/// Values by field name. A text from `Debug` begins with a `?`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Fields(pub BTreeMap<String, String>);

impl Visit for Fields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.0.insert(field.name().to_owned(), format!("f64 {value}"));
    }
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.0.insert(field.name().to_owned(), format!("i64 {value}"));
    }
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.0.insert(field.name().to_owned(), format!("u64 {value}"));
    }
    fn record_u128(&mut self, field: &Field, value: u128) {
        self.0.insert(field.name().to_owned(), format!("u128 {value}"));
    }
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.0.insert(field.name().to_owned(), format!("bool {value}"));
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().to_owned(), value.to_owned());
    }
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let words = format!("{value:?}");
        let name = field.name().to_owned();
        self.0.insert(
            name,
            if field.name() == "message" {
                words
            } else {
                format!("?{words}")
            },
        );
    }
}

type Deed = Arc<dyn Fn(&Told) + Send + Sync>;
type SetFilter = Box<dyn Fn(&str) + Send + Sync>;

/// The state of the process's subscriber.
#[derive(Default)]
pub struct Listener {
    told: Mutex<Vec<Told>>,
    does: Mutex<Option<Deed>>,
    open: AtomicUsize,
    filter: OnceLock<SetFilter>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Keeps(&'static Listener);

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Keeps {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        self.0.open.fetch_add(1, Ordering::SeqCst);
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        context.span(id).expect("it is new").extensions_mut().insert(fields);
    }

    fn on_record(&self, id: &Id, record: &Record<'_>, context: Context<'_, S>) {
        let span = context.span(id).expect("it is open");
        record.record(span.extensions_mut().get_mut::<Fields>().expect("it was told"));
    }

    fn on_close(&self, _: Id, _: Context<'_, S>) {
        self.0.open.fetch_sub(1, Ordering::SeqCst);
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let scope = context.event_scope(event).into_iter().flat_map(|scope| scope.from_root());
        let fields_of = |fields: Option<&Fields>| fields.cloned().unwrap_or_default();
        let spans = scope.map(|span| (span.name().to_owned(), fields_of(span.extensions().get::<Fields>())));
        let told = Told {
            metadata: event.metadata(),
            fields,
            spans: spans.collect(),
        };
        locked(&self.0.told).push(told.clone());
        let does = locked(&self.0.does).clone();
        if let Some(does) = does {
            does(&told);
        }
    }
}

impl Listener {
    /// Takes the process's listener, emptied and without a filter. Only one test at a time has it.
    pub fn take() -> (MutexGuard<'static, ()>, &'static Self) {
        static ONE: Mutex<()> = Mutex::new(());
        static LISTENER: OnceLock<&'static Listener> = OnceLock::new();
        let alone = locked(&ONE);
        let listener = *LISTENER.get_or_init(|| {
            let listener: &'static Listener = Box::leak(Box::default());
            let (filter, handle) = reload::Layer::new(EnvFilter::new("trace"));
            let subscriber = tracing_subscriber::registry().with(filter).with(Keeps(listener));
            tracing::subscriber::set_global_default(subscriber).expect("the first of this process");
            let set = move |words: &str| handle.reload(EnvFilter::new(words)).expect("the subscriber is there");
            let _ = listener.filter.set(Box::new(set));
            listener
        });
        listener.filter("trace");
        listener.does(None);
        listener.forget();
        (alone, listener)
    }

    /// Sets a filter.
    pub fn filter(&self, words: &str) {
        self.filter.get().expect("it is set")(words);
    }

    /// Sets an action for each event, on the event's thread.
    pub fn does(&self, deed: Option<Deed>) {
        *locked(&self.does) = deed;
    }

    pub fn forget(&self) {
        locked(&self.told).clear();
    }

    /// The events from a slot's plugin, without the host's own.
    pub fn from(&self, slot: &str) -> Vec<Told> {
        let told = locked(&self.told).clone();
        let plugins = |told: &Told| told.is_from(slot) && !told.metadata.target().starts_with("reslot");
        told.into_iter().filter(plugins).collect()
    }

    /// The only event of a slot with this text.
    pub fn one(&self, slot: &str, words: &str) -> Told {
        let mut told = self.from(slot);
        told.retain(|told| told.words() == words);
        assert_eq!(told.len(), 1, "{words:?} of {:#?}", self.from(slot));
        told.remove(0)
    }

    /// The number of open spans.
    pub fn open_spans(&self) -> usize {
        self.open.load(Ordering::SeqCst)
    }
}

thread_local! {
    static DEEP: Cell<bool> = const { Cell::new(false) };
}

/// Runs the action, unless this thread is running it already.
pub fn not_again(deed: impl FnOnce()) {
    if !DEEP.replace(true) {
        deed();
        DEEP.set(false);
    }
}
