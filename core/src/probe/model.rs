//! A checked probe: what `compile.rs` makes of a definition and what every later file reads. Both walks carry it: a
//! configuration going in ends with it in `registry.rs`, a hit going out begins with it in `hit.rs`.

use super::location::{SourcePath, readings};
use crate::capture::limits::Limits;
use crate::expr::Expression;
use crate::expr::template::Segment;
use crate::expr::template::Template;
use crate::expr::tree::Special;
use crate::host::Site;
use crate::record::write::Place;

/// The most lines of one probe.
pub const MAX_LINES: usize = 10;

/// The most decorations of one probe, and the most tags of all of them.
pub const MAX_TAGS: usize = 100;

/// The most capture expressions of one probe.
pub const MAX_EXPRESSIONS: usize = 50;

/// Where a probe is asked to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// Lines of a source file.
    Lines {
        /// The path as given.
        file: String,
        /// One to ten line numbers, from 1.
        lines: Vec<u32>,
    },
    /// A method.
    Method {
        /// `typeName`: module or class; empty where the host allows it.
        type_name: String,
        /// `methodName`.
        method: String,
        /// `signature`, to tell overloads apart.
        signature: Option<String>,
        /// `sourceFile`, where the host finds methods by file.
        file: Option<String>,
    },
}

/// When a method probe is evaluated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EvaluateAt {
    /// At entry.
    Entry,
    /// At return or throw.
    Exit,
}

/// What a probe does.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "there is one in a probe, and a hit reads it without another step")]
pub enum Kind {
    /// A log line or snapshot.
    Log(Log),
    /// A metric.
    Metric(Metric),
    /// A span around a method.
    Span,
    /// Tags on a span.
    SpanDecoration(SpanDecoration),
}

/// Tags on a span that the application made.
#[derive(Debug)]
pub struct SpanDecoration {
    /// Which span.
    pub target: TargetSpan,
    /// Each that holds is applied.
    pub decorations: Vec<Decoration>,
}

/// The span that a decoration goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetSpan {
    /// The active one.
    Active,
    /// The root of the local trace.
    Root,
}

/// A log line, with or without captured values.
#[derive(Debug)]
pub struct Log {
    /// The message.
    pub template: Template,
    /// True if arguments, locals and statics are captured.
    pub snapshot: bool,
    /// Limits of the capture.
    pub limits: Limits,
    /// Captured expressions; empty if `snapshot`.
    pub expressions: Vec<CaptureExpression>,
}

impl Log {
    /// True if the probe captures values, so that the lower rate and the capturing budget apply.
    pub fn captures(&self) -> bool {
        self.snapshot || !self.expressions.is_empty()
    }
}

/// One captured expression.
#[derive(Debug)]
pub struct CaptureExpression {
    /// Its name on the wire.
    pub name: String,
    /// What is captured.
    pub expression: Expression,
    /// Limits of the capture.
    pub limits: Limits,
}

/// A metric probe.
#[derive(Debug)]
pub struct Metric {
    /// Count, gauge, histogram, distribution.
    pub kind: MetricKind,
    /// The name without prefix.
    pub name: String,
    /// The value; 1 if absent.
    pub value: Option<Expression>,
}

/// The kind of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricKind {
    /// A count.
    Count,
    /// A gauge.
    Gauge,
    /// A histogram.
    Histogram,
    /// A distribution.
    Distribution,
}

/// One decoration of a span.
#[derive(Debug)]
pub struct Decoration {
    /// Applies if it holds.
    pub when: Option<Expression>,
    /// Its tags.
    pub tags: Vec<Tag>,
}

/// A tag of a decoration.
#[derive(Debug)]
pub struct Tag {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: Template,
    /// The number of its first segment: those of all tags of a probe are counted together, so that records and failures can
    /// name one.
    pub first: u16,
}

impl SpanDecoration {
    /// The expression of a segment, by its number among those of all tags.
    pub fn segment(&self, number: u16) -> Option<&Expression> {
        let tags = self.decorations.iter().flat_map(|decoration| &decoration.tags);
        let tag = tags.take_while(|tag| tag.first <= number).last()?;
        match tag.value.segments.get(usize::from(number - tag.first))? {
            Segment::Expression(expression) => Some(expression),
            Segment::Literal(_) => None,
        }
    }
}

/// A checked probe. Symbols of all its expressions are numbered in one list, so that a host resolves them once.
#[derive(Debug)]
pub struct Probe {
    /// Opaque id.
    pub id: String,
    /// Rises with each edit.
    pub version: i64,
    /// Where it is asked to be.
    pub location: Location,
    /// What it does.
    pub kind: Kind,
    /// Fires only if it holds.
    pub when: Option<Expression>,
    /// For method probes.
    pub evaluate_at: EvaluateAt,
    /// `key:value`, as sent in `ddtags`.
    pub tags: Vec<String>,
    /// Events a second; 0 is never.
    pub rate: f64,
    /// Milliseconds since the epoch at which it is removed.
    pub expires_at: Option<u64>,
    /// Every name that its expressions read: variables and members, numbered by [`crate::host::Symbol::index`].
    pub symbols: Vec<String>,
    /// Remarks for the log (a snapshot that wins over capture expressions, `{{name}}` in a template).
    pub warnings: Vec<String>,
}

impl Probe {
    /// A log probe on line 1 of a file, as no definition asks for it: what vectors are run with.
    pub fn alone(log: Log, when: Option<Expression>, symbols: Vec<String>, file: &str) -> Probe {
        Probe {
            id: "probe".to_owned(),
            version: 1,
            location: Location::Lines { file: file.to_owned(), lines: vec![1] },
            kind: Kind::Log(log),
            when,
            evaluate_at: EvaluateAt::Exit,
            tags: Vec::new(),
            rate: 1.0,
            expires_at: None,
            symbols,
            warnings: Vec::new(),
        }
    }

    /// True if one of its expressions reads a special.
    pub fn reads(&self, special: Special) -> bool {
        self.expressions().iter().any(|expression| expression.tree.reads(special))
    }

    /// All its expressions.
    fn expressions(&self) -> Vec<&Expression> {
        let mut all: Vec<&Expression> = self.when.iter().collect();
        match &self.kind {
            Kind::Log(log) => {
                all.extend(log.template.expressions());
                all.extend(log.expressions.iter().map(|capture| &capture.expression));
            }
            Kind::Metric(metric) => all.extend(&metric.value),
            Kind::Span => {}
            Kind::SpanDecoration(decoration) => {
                for decoration in &decoration.decorations {
                    all.extend(&decoration.when);
                    all.extend(decoration.tags.iter().flat_map(|tag| tag.value.expressions()));
                }
            }
        }
        all
    }

    /// The expression at a place; of a tag there is none, since its template may have several: those are its segments.
    pub fn expression_at(&self, place: Place) -> Option<&Expression> {
        match (place, &self.kind) {
            (Place::Condition, _) => self.when.as_ref(),
            (Place::Segment(index), Kind::Log(log)) => match log.template.segments.get(usize::from(index))? {
                Segment::Expression(expression) => Some(expression),
                Segment::Literal(_) => None,
            },
            (Place::Expression(index), Kind::Log(log)) => {
                log.expressions.get(usize::from(index)).map(|capture| &capture.expression)
            }
            (Place::Segment(number), Kind::SpanDecoration(of)) => of.segment(number),
            (Place::Metric, Kind::Metric(metric)) => metric.value.as_ref(),
            (Place::Decoration(index), Kind::SpanDecoration(of)) => {
                of.decorations.get(usize::from(index))?.when.as_ref()
            }
            _ => None,
        }
    }

    /// True if it captures values.
    pub fn captures(&self) -> bool {
        matches!(&self.kind, Kind::Log(log) if log.captures())
    }

    /// True for a method probe: it has a return value, an exception and a duration.
    pub fn is_method(&self) -> bool {
        matches!(self.location, Location::Method { .. })
    }
}

/// Code named by a service configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CodeList {
    /// Modules, packages or folders; each matches itself and what is below it.
    pub prefixes: Vec<String>,
    /// Qualified class names.
    pub classes: Vec<String>,
}

impl CodeList {
    fn is_empty(&self) -> bool {
        self.prefixes.is_empty() && self.classes.is_empty()
    }

    /// The entry that names a unit (a module or a file) or a class in it.
    fn entry(&self, unit: &str, class: Option<&str>) -> Option<&str> {
        let of_class = class.and_then(|class| self.classes.iter().find(|entry| *entry == class));
        of_class.or_else(|| self.prefixes.iter().find(|prefix| is_below(unit, prefix))).map(String::as_str)
    }
}

/// True if a unit is `prefix` or below it: components are compared whole.
fn is_below(unit: &str, prefix: &str) -> bool {
    let separator = |c: char| matches!(c, '.' | '/' | '\\');
    let prefix = prefix.trim_end_matches('*').trim_end_matches(separator);
    match unit.strip_prefix(prefix) {
        Some(rest) => !prefix.is_empty() && (rest.is_empty() || rest.starts_with(separator)),
        None => false,
    }
}

/// Settings for a whole service: which code may be probed, and how often.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ServiceConfiguration {
    /// Only this code, if it names any.
    pub allow: CodeList,
    /// Never this code.
    pub deny: CodeList,
    /// Events a second of all probes that capture.
    pub rate: Option<f64>,
}

impl ServiceConfiguration {
    /// Why code must not be probed, if so. `unit` is a Python module, a file, or a package; deny beats allow.
    pub fn refuses(&self, unit: &str, class: Option<&str>) -> Option<String> {
        if let Some(entry) = self.deny.entry(unit, class) {
            return Some(format!("'{unit}' is on the service's deny list ('{entry}')"));
        }
        if self.allow.is_empty() || self.allow.entry(unit, class).is_some() {
            return None;
        }
        Some(format!("'{unit}' is not on the service's allow list"))
    }

    /// Why a place must not be probed, if so, as far as its names tell: of a file its path, and the modules that it may
    /// be.
    pub fn refuses_place(&self, location: &Location) -> Option<String> {
        match location {
            Location::Lines { file, .. } => self.refuses_each(&of_file(file)),
            Location::Method { type_name, method, .. } => self.refuses_each(&of_method(type_name, method)),
        }
    }

    /// Why the code that was found for a probe must not be probed, if so, however the probe names it: of all names of its
    /// module, of the classes that hold it and of its file, one that is denied is enough, and one that is allowed.
    pub fn refuses_code(&self, location: &Location, site: &Site) -> Option<String> {
        let mut units = match location {
            Location::Lines { .. } => Vec::new(),
            Location::Method { type_name, method, .. } => of_method(type_name, method),
        };
        for module in &site.modules {
            units.push((module.clone(), None));
            units.extend(site.classes.iter().map(|class| (module.clone(), Some(format!("{module}.{class}")))));
        }
        if !site.file.is_empty() {
            units.extend(of_file(&site.file));
        }
        self.refuses_each(&units)
    }

    /// The deny list alone.
    #[must_use]
    pub fn denied(&self) -> ServiceConfiguration {
        ServiceConfiguration { deny: self.deny.clone(), ..ServiceConfiguration::default() }
    }

    /// The names of one place: one that is denied is enough, and one that is allowed.
    fn refuses_each(&self, units: &[Unit]) -> Option<String> {
        if self.deny.is_empty() && self.allow.is_empty() {
            return None;
        }
        for (unit, class) in units {
            if self.deny.entry(unit, class.as_deref()).is_some() {
                return self.refuses(unit, class.as_deref());
            }
        }
        let mut refused = units.iter().map(|(unit, class)| self.refuses(unit, class.as_deref()));
        let first = refused.next()??;
        refused.all(|one| one.is_some()).then_some(first)
    }
}

/// A module, file or package, and a class in it.
type Unit = (String, Option<String>);

/// The modules that a method probe may mean, with its class.
fn of_method(type_name: &str, method: &str) -> Vec<Unit> {
    let unit = |(module, name): (String, String)| {
        let class = name.rsplit_once('.').map(|(class, _)| format!("{module}.{class}"));
        (module, class)
    };
    readings(type_name, method).into_iter().map(unit).collect()
}

/// A file, and the modules that it may be.
fn of_file(path: &str) -> Vec<Unit> {
    let bare = path.strip_suffix(".py").unwrap_or(path);
    let bare = bare.strip_suffix("/__init__").unwrap_or(bare);
    let modules = SourcePath::new(bare).suffixes().map(|path| (path.replace('/', "."), None)).collect::<Vec<_>>();
    std::iter::once((path.to_owned(), None)).chain(modules).collect()
}

#[cfg(test)]
mod tests {
    use super::{CodeList, Location, ServiceConfiguration, Site};

    fn list(prefixes: &[&str], classes: &[&str]) -> CodeList {
        let own = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        CodeList { prefixes: own(prefixes), classes: own(classes) }
    }

    #[test]
    fn deny_beats_allow_and_components_are_compared_whole() {
        let service = ServiceConfiguration {
            allow: list(&["shop", "/srv/app"], &["bank.Vault"]),
            deny: list(&["shop.secret"], &["shop.cart.Card"]),
            rate: None,
        };
        for (unit, class, refused) in [
            ("shop", None, false),
            ("shop.cart", None, false),
            ("shop.cart", Some("shop.cart.Card"), true),
            ("shopping", None, true),
            ("shop.secret", None, true),
            ("shop.secrets", None, false),
            ("/srv/app/cart.js", None, false),
            ("bank", Some("bank.Vault"), false),
            ("bank", None, true),
        ] {
            assert_eq!(service.refuses(unit, class).is_some(), refused, "{unit} {class:?}");
        }
        assert_eq!(ServiceConfiguration::default().refuses("anything", None), None);
    }

    #[test]
    fn files_are_known_by_the_modules_they_may_be() {
        let service = |allow: &[&str], deny: &[&str]| ServiceConfiguration {
            allow: list(allow, &[]),
            deny: list(deny, &["shop.cart.Card"]),
            rate: None,
        };
        let lines = |file: &str| Location::Lines { file: file.to_owned(), lines: vec![1] };
        let denied = service(&[], &["json", "shop.secret", "/srv/app/private"]);
        for (file, refused) in [
            ("json/decoder.py", true),
            ("/usr/lib/python3.13/json/__init__.py", true),
            ("C:\\app\\shop\\secret.py", true),
            ("shop/secrets.py", false),
            ("/srv/app/private/x.js", true),
            ("decoder.py", false),
        ] {
            assert_eq!(denied.refuses_place(&lines(file)).is_some(), refused, "{file}");
        }
        let allowed = service(&["shop"], &["shop.secret"]);
        assert_eq!(allowed.refuses_place(&lines("/srv/shop/cart.py")), None);
        assert!(allowed.refuses_place(&lines("/srv/shop/secret.py")).unwrap().contains("deny list ('shop.secret')"));
        assert!(allowed.refuses_place(&lines("/srv/bank/x.py")).unwrap().contains("not on the service's allow list"));
        let method = |type_name: &str, method: &str| {
            let (type_name, method) = (type_name.to_owned(), method.to_owned());
            allowed.refuses_place(&Location::Method { type_name, method, signature: None, file: None }).is_some()
        };
        assert!(!method("shop.cart", "Cart.total") && method("bank", "f"));
        assert!(method("shop.cart", "Card.pay") && method("shop.cart.Card", "pay") && method("shop.secret", "f"));
    }

    #[test]
    fn code_is_judged_by_all_its_names_however_a_probe_names_it() {
        let service = |allow: &[&str], prefixes: &[&str], classes: &[&str]| ServiceConfiguration {
            allow: list(allow, &[]),
            deny: list(prefixes, classes),
            rate: None,
        };
        let own = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let site = |file: &str, modules: &[&str], classes: &[&str]| Site {
            file: file.to_owned(),
            modules: own(modules),
            classes: own(classes),
            ..Site::default()
        };
        let lines = Location::Lines { file: "cart.py".to_owned(), lines: vec![3] };
        let (type_name, method) = ("__main__".to_owned(), "Card.total".to_owned());
        let method = Location::Method { type_name, method, signature: None, file: None };
        let of_class = site("/srv/shop/cart.py", &["shop.cart"], &["Card", "Card.Entry"]);
        let of_program = site("/srv/app.py", &["__main__"], &["Card"]);
        for location in [&lines, &method] {
            let refuses = |service: &ServiceConfiguration, site: &Site| service.refuses_code(location, site).is_some();
            assert!(refuses(&service(&[], &[], &["shop.cart.Card"]), &of_class));
            assert!(refuses(&service(&[], &[], &["shop.cart.Card.Entry"]), &of_class));
            assert!(!refuses(&service(&[], &[], &["shop.cart.Car", "cart.Card", "Card"]), &of_class));
            for name in ["app", "__main__", "/srv/app.py", "/srv"] {
                assert!(refuses(&service(&[], &[name], &[]), &of_program), "{name}");
                assert!(!refuses(&service(&[name], &[], &[]), &of_program), "{name}");
            }
            assert!(refuses(&service(&["bank"], &[], &[]), &of_program));
            assert!(!refuses(&ServiceConfiguration::default(), &of_program));
        }
        let alias = site("/usr/lib/posixpath.py", &["posixpath", "os.path"], &[]);
        assert!(service(&[], &["os.path"], &[]).refuses_code(&lines, &alias).unwrap().contains("'os.path'"));
    }
}
