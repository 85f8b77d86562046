//! Metrics as DogStatsD lines (*Signals and upload* 8.1). On the walk of a hit going out, on the worker: before it
//! [`super::meter`], after it [`crate::datagrams`].
//!
//! `name:value|type|@rate|#tags|c:container|e:external`, several values of a histogram or distribution in one line, as
//! protocol 1.1 has it, and several lines in one datagram as long as they fit.

use crate::config::Settings;
use crate::control::agent::Container;
use crate::emit::health::Told;
use crate::emit::meter::Taken;
use crate::probe::model::{Metric, MetricKind, Probe};
use std::fmt::Write as _;

/// What stands before each name.
const PREFIX: &str = "dynamic.instrumentation.metric.probe.";
/// The most characters of a name, and of a tag: servers cut longer ones.
const MOST: usize = 200;
/// Bytes that are left for a value, the type and the rate.
const ROOM: usize = 80;

/// The name of a metric as it is sent: letters, digits, `_` and `.`.
pub fn name(metric: &Metric) -> String {
    let clean = |c: char| if c.is_ascii_alphanumeric() || c == '.' { c } else { '_' };
    PREFIX.chars().chain(metric.name.chars().map(clean)).take(MOST).collect()
}

/// The type of a kind, as it is sent.
pub fn letter(kind: MetricKind) -> &'static str {
    match kind {
        MetricKind::Count => "c",
        MetricKind::Gauge => "g",
        MetricKind::Histogram => "h",
        MetricKind::Distribution => "d",
    }
}

/// A tag in which nothing ends it.
fn tag(text: &str) -> String {
    let clean = |c: char| if matches!(c, '|' | '#' | ',') || c.is_control() { '_' } else { c };
    text.chars().map(clean).take(MOST).collect()
}

fn key(tag: &str) -> &str {
    tag.split_once(':').map_or(tag, |(key, _)| key)
}

/// What the metrics of a process have in common.
#[derive(Clone, Debug, Default)]
pub struct Origin {
    /// `env`, `service`, `version`, as far as they are known.
    tags: Vec<String>,
    /// The fields that tell the container.
    fields: String,
}

impl Origin {
    /// Of a process.
    pub fn new(settings: &Settings, service: &str, container: &Container) -> Origin {
        let known =
            [("env", settings.env.as_deref()), ("service", Some(service)), ("version", settings.version.as_deref())];
        let known = known.into_iter().filter_map(|(key, value)| Some((key, value.filter(|value| !value.is_empty())?)));
        let entity = settings.entity_id.as_deref().filter(|id| id.starts_with("ci-") || id.starts_with("in-"));
        let fields = [("c", entity.or(container.entity.as_deref())), ("e", settings.external_env.as_deref())];
        let fields = fields.into_iter().filter_map(|(key, value)| Some(format!("|{key}:{}", field(value?))));
        Origin { tags: known.map(|(key, value)| tag(&format!("{key}:{value}"))).collect(), fields: fields.collect() }
    }

    /// The tags of a probe, in their order, no key twice. Of many, those are left out that would not let a line of so many bytes
    /// have a value.
    fn tags(&self, probe: &Probe, room: usize) -> Vec<String> {
        let given: Vec<String> =
            probe.tags.iter().map(|given| tag(given)).filter(|given| !key(given).is_empty()).collect();
        let own: Vec<String> =
            std::iter::once(tag(&format!("debugger.probeid:{}", probe.id))).chain(self.tags.iter().cloned()).collect();
        let mut left = room.saturating_sub(own.iter().map(|own| own.len() + 1).sum());
        let mut tags: Vec<String> = Vec::new();
        for given in given {
            if given.len() < left && !tags.iter().any(|known| key(known) == key(&given)) {
                left -= given.len() + 1;
                tags.push(given);
            }
        }
        for own in own {
            if !tags.iter().any(|known| key(known) == key(&own)) {
                tags.push(own);
            }
        }
        tags
    }
}

/// The value of a field at the end of a line: it is told as it is, without what would end it.
fn field(text: &str) -> String {
    text.chars().map(|c| if c == '|' || c.is_control() { '_' } else { c }).take(4 * MOST).collect()
}

/// Writes a finite number: the shortest decimal that reads back as the same, with an exponent only where there would be more
/// than twenty digits.
pub fn number(value: f64, out: &mut Vec<u8>) {
    use std::io::Write as _;
    let size = value.abs();
    // Into memory, which cannot fail.
    let _ = match size {
        0.0 => write!(out, "0"),
        _ if (1e-7..1e21).contains(&size) => write!(out, "{value}"),
        _ => write!(out, "{value:e}"),
    };
}

/// Bytes that go out together, and how many values are in them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Datagram {
    /// One line or several, each with its end.
    pub bytes: Vec<u8>,
    /// Values of probes in it.
    pub values: u64,
}

/// Puts lines into datagrams of a size.
#[derive(Debug)]
pub struct Packer {
    origin: Origin,
    /// The most bytes of a datagram.
    limit: usize,
    open: Datagram,
    full: Vec<Datagram>,
}

impl Packer {
    /// One whose datagrams have at most so many bytes.
    pub fn new(origin: Origin, limit: usize) -> Packer {
        Packer { origin, limit, open: Datagram::default(), full: Vec::new() }
    }

    /// Adds what a probe has measured.
    pub fn add(&mut self, probe: &Probe, metric: &Metric, taken: &Taken) {
        let name = name(metric);
        let mut end = format!("|{}", letter(metric.kind));
        if taken.one_in > 1 {
            // Of a power of two: it ends.
            let _ = write!(end, "|@{}", 1.0 / f64::from(taken.one_in)); // into a String, which cannot fail
        }
        let room = self.limit.saturating_sub(name.len() + self.origin.fields.len() + ROOM);
        end = end + "|#" + &self.origin.tags(probe, room).join(",") + &self.origin.fields + "\n";
        let mut text = Vec::new();
        let mut begun = false;
        for value in &taken.values {
            text.clear();
            number(*value, &mut text);
            let more = 1 + text.len() + end.len();
            if begun && self.open.bytes.len() + more > self.limit {
                self.open.bytes.extend_from_slice(end.as_bytes());
                self.close();
                begun = false;
            }
            if !begun {
                if self.open.bytes.len() + name.len() + more > self.limit {
                    self.close();
                }
                self.open.bytes.extend_from_slice(name.as_bytes());
                begun = true;
            }
            self.open.bytes.push(b':');
            self.open.bytes.extend_from_slice(&text);
            self.open.values += 1;
        }
        if begun {
            self.open.bytes.extend_from_slice(end.as_bytes());
        }
    }

    /// Adds what is told of ourselves. It is no value that a probe has measured.
    pub fn tell(&mut self, told: &Told) {
        let tags = told.tags.iter().map(|(key, value)| tag(&format!("{key}:{value}")));
        let tags: Vec<String> = tags.chain(self.origin.tags.iter().cloned()).collect();
        let mut line = told.name.clone().into_bytes();
        line.push(b':');
        number(told.value, &mut line);
        line.extend_from_slice(format!("|{}", told.letter).as_bytes());
        if !tags.is_empty() {
            line.extend_from_slice(format!("|#{}", tags.join(",")).as_bytes());
        }
        line.extend_from_slice(self.origin.fields.as_bytes());
        line.push(b'\n');
        if self.open.bytes.len() + line.len() > self.limit {
            self.close();
        }
        self.open.bytes.append(&mut line);
    }

    fn close(&mut self) {
        if !self.open.bytes.is_empty() {
            self.full.push(std::mem::take(&mut self.open));
        }
    }

    /// All that was added.
    pub fn take(&mut self) -> Vec<Datagram> {
        self.close();
        std::mem::take(&mut self.full)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::model::{EvaluateAt, Kind, Location};

    fn probe(id: &str, tags: &[&str]) -> Probe {
        Probe {
            id: id.to_owned(),
            version: 1,
            location: Location::Lines { file: "a.py".to_owned(), lines: vec![1] },
            kind: Kind::Span,
            when: None,
            evaluate_at: EvaluateAt::Exit,
            tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
            rate: f64::INFINITY,
            expires_at: None,
            symbols: Vec::new(),
            warnings: Vec::new(),
        }
    }

    fn metric(kind: MetricKind, name: &str) -> Metric {
        Metric { kind, name: name.to_owned(), value: None }
    }

    fn settings() -> Settings {
        let own = |text: &str| Some(text.to_owned());
        Settings { env: own("e1"), version: own("1.2.3"), external_env: own("it-false,cn-a"), ..Settings::default() }
    }

    fn taken(values: &[f64], one_in: u32) -> Taken {
        Taken { values: values.to_vec(), one_in }
    }

    fn texts(packer: &mut Packer) -> Vec<String> {
        packer.take().into_iter().map(|datagram| String::from_utf8(datagram.bytes).unwrap()).collect()
    }

    #[test]
    fn datagrams_byte_by_byte() {
        let container = Container { id: Some("abc".to_owned()), entity: Some("ci-abc".to_owned()) };
        let mut packer = Packer::new(Origin::new(&settings(), "shop", &container), 1432);
        let probe = probe("9c7d", &["team:x"]);
        packer.add(&probe, &metric(MetricKind::Count, "shop.calls"), &taken(&[3.0], 1));
        packer.add(&probe, &metric(MetricKind::Gauge, "shop.load"), &taken(&[-0.5], 1));
        packer.add(&probe, &metric(MetricKind::Histogram, "shop.hist"), &taken(&[30.0, 0.25, 1e300], 1));
        packer.add(&probe, &metric(MetricKind::Distribution, "shop.dist"), &taken(&[1.0], 4));
        let common = "|#team:x,debugger.probeid:9c7d,env:e1,service:shop,version:1.2.3|c:ci-abc|e:it-false,cn-a\n";
        let lines = [
            "dynamic.instrumentation.metric.probe.shop.calls:3|c",
            "dynamic.instrumentation.metric.probe.shop.load:-0.5|g",
            "dynamic.instrumentation.metric.probe.shop.hist:30:0.25:1e300|h",
            "dynamic.instrumentation.metric.probe.shop.dist:1|d|@0.25",
        ];
        assert_eq!(texts(&mut packer), [lines.map(|line| format!("{line}{common}")).concat()]);
        assert!(packer.take().is_empty());
    }

    #[test]
    fn the_container_may_be_told_by_a_setting_or_not_at_all() {
        let origin = |entity: Option<&str>, container: Option<&str>| {
            let settings = Settings { entity_id: entity.map(str::to_owned), ..Settings::default() };
            let container = Container { id: None, entity: container.map(str::to_owned) };
            Origin::new(&settings, "", &container).fields
        };
        assert_eq!(origin(None, None), "");
        assert_eq!(origin(None, Some("in-17")), "|c:in-17");
        assert_eq!(origin(Some("ci-7"), Some("in-17")), "|c:ci-7");
        assert_eq!(origin(Some("a pod"), Some("in-17")), "|c:in-17");
    }

    #[test]
    fn nothing_in_a_name_or_tag_ends_it_and_no_key_stands_twice() {
        let mut packer = Packer::new(Origin::new(&settings(), "a|b", &Container::default()), 1432);
        let probe = probe("p,1", &["env:mine", "a:1|c\n#x", "a:2", "bare", ":", "", "ü:ß"]);
        packer.add(&probe, &metric(MetricKind::Count, "a b|c:1\n%é.x_9"), &taken(&[1.0], 1));
        assert_eq!(
            texts(&mut packer),
            [
                "dynamic.instrumentation.metric.probe.a_b_c_1___.x_9:1|c|#env:mine,a:1_c__x,bare,ü:ß,debugger.probeid:p_1,\
              service:a_b,version:1.2.3|e:it-false,cn-a\n"
            ]
        );
    }

    #[test]
    fn no_datagram_is_larger_than_may_be_and_no_value_is_lost() {
        let values: Vec<f64> = (0..5000).map(|n| f64::from(n) / 7.0).collect();
        let many: Vec<String> = (0..100).map(|n| format!("key{n}:{}", "v".repeat(300))).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        for limit in [1432, 8192] {
            for tags in [&[][..], &["team:x"], &many] {
                let mut packer = Packer::new(Origin::new(&settings(), &"s".repeat(500), &Container::default()), limit);
                let probe = probe(&"p".repeat(500), tags);
                let long = metric(MetricKind::Histogram, &"n".repeat(500));
                packer.add(&probe, &metric(MetricKind::Count, "c"), &taken(&[-f64::MAX], 1));
                packer.add(&probe, &long, &taken(&values, 1 << 20));
                packer.add(&probe, &metric(MetricKind::Gauge, "g"), &taken(&[f64::MIN_POSITIVE], 1));
                let (mut came, mut counted) = (Vec::new(), 0);
                for datagram in packer.take() {
                    assert!(datagram.bytes.len() <= limit, "{} of {limit}", datagram.bytes.len());
                    counted += datagram.values;
                    let text = String::from_utf8(datagram.bytes).unwrap();
                    assert!(text.ends_with('\n'));
                    for line in text.lines() {
                        let (name, rest) = line.split_once(':').unwrap();
                        assert!(name.len() <= 200);
                        let (numbers, rest) = rest.split_once('|').unwrap();
                        assert!(rest.contains("debugger.probeid:pp") && rest.contains("service:ss"), "{line}");
                        if rest.starts_with("h|@0.00000095367431640625|#") {
                            came.extend(numbers.split(':').map(|number| number.parse::<f64>().unwrap()));
                        }
                    }
                }
                assert_eq!((came, counted), (values.clone(), 5002));
            }
        }
    }

    #[test]
    fn numbers_are_short_and_read_back() {
        for (value, text) in [
            (0.0, "0"),
            (-0.0, "0"),
            (1.0, "1"),
            (-12.5, "-12.5"),
            (0.1, "0.1"),
            (2f64.powi(53), "9007199254740992"),
            (1e20, "100000000000000000000"),
            (1e21, "1e21"),
            (1e-7, "0.0000001"),
            (1.5e-8, "1.5e-8"),
            (f64::MAX, "1.7976931348623157e308"),
        ] {
            let mut out = Vec::new();
            number(value, &mut out);
            let out = String::from_utf8(out).unwrap();
            assert_eq!(out, text);
            assert_eq!(out.parse::<f64>().unwrap().abs().to_bits(), value.abs().to_bits());
        }
    }
}
