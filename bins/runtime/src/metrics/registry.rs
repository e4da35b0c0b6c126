use std::{
    fmt,
    hash::Hash,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;
use tracing::error;

use super::{
    cells::{CellKey, Cells},
    encode::{Encoder, Generation, Kind, Metric, Unit},
    family::{Family, Shared as FamilyShared, Source},
    labels::Labels,
    quantiles::Quantiles,
    value::{Counter, FloatGauge, Gauge, Histogram},
};

/// How many series a family may have.
pub const SERIES_MAX: usize = 16_384;

/// All families of one program. Clones are the same registry.
#[derive(Clone)]
pub struct Registry(Arc<Shared>);

struct Shared {
    retain: Duration,
    series_max: usize,
    entries: Mutex<Vec<Entry>>,
}

enum Entry {
    Family(Named),
    Collector(Generation, Arc<dyn Fn(&mut Encoder) + Send + Sync>),
}

#[derive(Clone)]
struct Named {
    generation: Generation,
    name: String,
    help: &'static str,
    kind: Kind,
    unit: Option<Unit>,
    // Several label types may share a name, for instance those of the inbound and the outbound side.
    sources: Vec<Arc<dyn Source>>,
}

/// Where families are registered: a registry, a generation of names, a prefix and a unit.
#[derive(Clone, Debug)]
#[must_use]
pub struct Scope {
    registry: Registry,
    generation: Generation,
    prefix: String,
    unit: Option<Unit>,
}

impl Registry {
    /// An empty registry, in which a series lives for `retain` after its last handle and its last update.
    #[must_use]
    pub fn new(retain: Duration) -> Self {
        Self::with_series_max(retain, SERIES_MAX)
    }

    /// Like [`Registry::new`], with a bound of its own on the series of each family instead of [`SERIES_MAX`].
    #[must_use]
    pub fn with_series_max(retain: Duration, series_max: usize) -> Self {
        Self(Arc::new(Shared { retain, series_max, entries: Mutex::default() }))
    }

    /// Where families with the older names are registered.
    pub fn legacy(&self) -> Scope {
        Scope { registry: self.clone(), generation: Generation::Legacy, prefix: String::new(), unit: None }
    }

    /// Where OpenMetrics families are registered: without unit and `_total` in the name.
    pub fn open(&self) -> Scope {
        Scope { registry: self.clone(), generation: Generation::Open, prefix: String::new(), unit: None }
    }

    /// Drops the series that have been idle too long. Every scrape does so too; a program that may not be scraped calls it
    /// from time to time.
    pub fn sweep(&self) {
        let now = Instant::now();
        for named in self.families() {
            named.sources.iter().for_each(|source| source.sweep(now, self.0.retain));
        }
    }

    /// The text of a scrape: the older families, the OpenMetrics ones, `# EOF`.
    #[must_use]
    pub fn encode(&self) -> String {
        self.sweep();
        let mut out = Encoder::new();
        for generation in [Generation::Legacy, Generation::Open] {
            out.generation(generation);
            for entry in self.entries() {
                match entry {
                    Entry::Family(named) if named.generation == generation => named.encode(&mut out),
                    Entry::Collector(of, collect) if of == generation => collect(&mut out),
                    Entry::Family(_) | Entry::Collector(..) => {}
                }
            }
        }
        self.encode_dropped(&mut out);
        out.finish()
    }

    fn encode_dropped(&self, out: &mut Encoder) {
        let help = "Series that were not kept because their family had as many as it may.";
        out.family("mesh_metrics_series_dropped", help, Kind::Counter, None, |out| {
            for named in self.families() {
                let dropped = named.sources.iter().map(|source| source.dropped()).sum();
                if dropped > 0 {
                    out.with(&[("family", &named.name)], |out| out.counter(dropped));
                }
            }
        });
    }

    // A copy: nothing is printed, and no program code runs, while the lock is held.
    fn entries(&self) -> Vec<Entry> {
        let entries = self.0.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let copy = |entry: &Entry| match entry {
            Entry::Family(named) => Entry::Family(named.clone()),
            Entry::Collector(generation, collect) => Entry::Collector(*generation, Arc::clone(collect)),
        };
        entries.iter().map(copy).collect()
    }

    fn families(&self) -> Vec<Named> {
        let family = |entry| match entry {
            Entry::Family(named) => Some(named),
            Entry::Collector(..) => None,
        };
        self.entries().into_iter().filter_map(family).collect()
    }
}

impl Named {
    fn encode(&self, out: &mut Encoder) {
        out.family(&self.name, self.help, self.kind, self.unit, |out| {
            self.sources.iter().for_each(|source| source.encode(out));
        });
    }
}

impl Scope {
    /// Puts a prefix and `_` before the names, behind the prefix that is there already.
    pub fn prefix(mut self, prefix: &str) -> Self {
        self.prefix.push_str(prefix);
        self.prefix.push('_');
        self
    }

    /// Gives the families registered from here on a unit. Older families have it in their names, and print none.
    pub fn unit(mut self, unit: Unit) -> Self {
        self.unit = Some(unit);
        self
    }

    /// The family of this name. Asking twice for the same name and types gives the same family.
    ///
    /// One name can have several label types; all its series have one kind and one unit.
    #[must_use]
    pub fn family<L, M>(&self, name: &str, help: &'static str, shape: M::Shape) -> Family<L, M>
    where
        L: Labels + Clone + Eq + Hash + Send + Sync + 'static,
        M: Metric,
    {
        let name = format!("{}{name}", self.prefix);
        let mut entries = self.registry.0.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let known = entries.iter_mut().find_map(|entry| match entry {
            Entry::Family(named) if named.generation == self.generation && named.name == name => Some(named),
            Entry::Family(_) | Entry::Collector(..) => None,
        });
        let new = || Family::new(shape.clone(), self.registry.0.series_max);
        let Some(named) = known else {
            let family = new();
            let (generation, unit, sources) = (self.generation, self.unit, vec![family.source()]);
            entries.push(Entry::Family(Named { generation, name, help, kind: M::KIND, unit, sources }));
            return family;
        };
        if named.kind != M::KIND || named.unit != self.unit {
            error!(family = %name, "metric family registered twice, with different kinds or units");
            debug_assert!(false, "family {name} registered twice, with different kinds or units");
        }
        let same = |source: &Arc<dyn Source>| Arc::clone(source).into_any().downcast::<FamilyShared<L, M>>().ok();
        if let Some(shared) = named.sources.iter().filter_map(same).find(|shared| shared.shape == shape) {
            return Family::from_shared(shared);
        }
        let family = new();
        named.sources.push(family.source());
        family
    }

    /// A family of counters.
    #[must_use]
    pub fn counter_family<L>(&self, name: &str, help: &'static str) -> Family<L, Counter>
    where
        L: Labels + Clone + Eq + Hash + Send + Sync + 'static,
    {
        self.family(name, help, ())
    }

    /// A family of gauges.
    #[must_use]
    pub fn gauge_family<L>(&self, name: &str, help: &'static str) -> Family<L, Gauge>
    where
        L: Labels + Clone + Eq + Hash + Send + Sync + 'static,
    {
        self.family(name, help, ())
    }

    /// A family of histograms.
    #[must_use]
    pub fn histogram_family<L>(&self, name: &str, help: &'static str, bounds: &'static [f64]) -> Family<L, Histogram>
    where
        L: Labels + Clone + Eq + Hash + Send + Sync + 'static,
    {
        self.family(name, help, bounds)
    }

    /// A family of counters, each split by labels that are known only at the end of a request.
    #[must_use]
    pub fn counter_cells<L, K>(&self, name: &str, help: &'static str) -> Family<L, Cells<K, Counter>>
    where
        L: Labels + Clone + Eq + Hash + Send + Sync + 'static,
        K: CellKey,
    {
        self.family(name, help, ())
    }

    /// A family of histograms, each split by labels that are known only at the end of a request.
    #[must_use]
    pub fn histogram_cells<L, K>(&self, name: &str, help: &'static str, bounds: &'static [f64]) -> Family<L, Cells<K, Histogram>>
    where
        L: Labels + Clone + Eq + Hash + Send + Sync + 'static,
        K: CellKey,
    {
        self.family(name, help, bounds)
    }

    /// A family of quantiles over lengths of time.
    #[must_use]
    pub fn quantiles_family<L>(&self, name: &str, help: &'static str) -> Family<L, Quantiles>
    where
        L: Labels + Clone + Eq + Hash + Send + Sync + 'static,
    {
        self.family(name, help, ())
    }

    /// A counter without labels.
    #[must_use]
    pub fn counter(&self, name: &str, help: &'static str) -> Arc<Counter> {
        self.family::<(), _>(name, help, ()).handle(&())
    }

    /// A gauge without labels.
    #[must_use]
    pub fn gauge(&self, name: &str, help: &'static str) -> Arc<Gauge> {
        self.family::<(), _>(name, help, ()).handle(&())
    }

    /// A gauge with a fraction, without labels.
    #[must_use]
    pub fn float_gauge(&self, name: &str, help: &'static str) -> Arc<FloatGauge> {
        self.family::<(), _>(name, help, ()).handle(&())
    }

    /// A histogram without labels.
    #[must_use]
    pub fn histogram(&self, name: &str, help: &'static str, bounds: &'static [f64]) -> Arc<Histogram> {
        self.family::<(), _>(name, help, bounds).handle(&())
    }

    /// Calls `collect` at every scrape, for families whose values are somebody else's. Prefix and unit do not apply.
    pub fn collect(&self, collect: impl Fn(&mut Encoder) + Send + Sync + 'static) {
        let mut entries = self.registry.0.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.push(Entry::Collector(self.generation, Arc::new(collect)));
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry").field("retain", &self.0.retain).finish_non_exhaustive()
    }
}
